import { createRequire } from 'node:module'
import { parsePattern } from '../../lib/topics/pattern.ts'
import { Router } from '../../lib/topics/router.ts'
import { filterOf } from './routes.ts'

/** Gives how many routes the topic matches. */
export type Matcher = (topic: string) => number

/** Ours: which routes, and the values of their placeholders. */
export function routerMatcher (patterns: readonly string[]): Matcher {
  const router = new Router<number>()
  patterns.forEach((pattern, index) => router.add(parsePattern(pattern), index))
  return topic => router.match(topic).length
}

/** What is used of qlobber, which brings no types. */
interface Qlobber {
  add (filter: string, value: number): void
  match (topic: string): number[]
}

const { Qlobber } = createRequire(import.meta.url)('qlobber') as {
  Qlobber: new (options: { separator: string, wildcard_one: string, wildcard_some: string }) => Qlobber
}

/** qlobber, as aedes and mqemitter use it: which routes. */
export function qlobberMatcher (patterns: readonly string[]): Matcher {
  const qlobber = new Qlobber({ separator: '/', wildcard_one: '+', wildcard_some: '#' })
  patterns.forEach((pattern, index) => qlobber.add(filterOf(pattern), index))
  return topic => qlobber.match(topic).length
}
