import { performance } from 'node:perf_hooks'
import { startClock } from '../harness/clock.ts'
import type { Figures, Scenario } from '../harness/scenario.ts'
import { qlobberMatcher, routerMatcher, type Matcher } from '../load/matchers.ts'
import { OURS, WARM_UP } from '../load/names.ts'
import { patterns, topicsFor } from '../load/routes.ts'

interface Matching {
  readonly routes: number
  /** How many topics there are in all, over and over. */
  readonly topics: number
}

const QLOBBER = 'qlobber'
const ROUTES = [10, 100, 1_000, 10_000, 100_000] as const
/** So many that each is forgotten, if it was ever remembered, before it comes again. */
const FRESH = 200_000
/** As an application's devices. */
const REPEATED = 1_000

/** Finding the routes of a topic that has just come in as bytes. qlobber gives the routes, ours their parameters as well. */
export const match: Scenario<Matching> = {
  name: 'match',
  title: 'routes with typed parameters, topics made from bytes, one in ten matches nothing',
  metrics: [
    { name: 'ns', title: 'ns of the thread for a topic', more: false },
    { name: 'cpu', title: 'ns CPU, garbage collector included', more: false }
  ],
  competitors: [OURS, QLOBBER],
  cases: ROUTES.flatMap(routes => [
    { name: nameOf(routes, FRESH), setting: { routes, topics: FRESH } },
    { name: nameOf(routes, REPEATED), setting: { routes, topics: REPEATED } }
  ]),
  goals: [
    ...ROUTES.flatMap(routes => [FRESH, REPEATED].map(topics => ({
      metric: 'ns',
      of: { case: nameOf(routes, topics), competitor: QLOBBER },
      to: { case: nameOf(routes, topics), competitor: OURS },
      atLeast: topics === FRESH ? 1.4 : 3.5
    }))),
    {
      metric: 'ns',
      of: { case: nameOf(100_000, FRESH), competitor: OURS },
      to: { case: nameOf(10, FRESH), competitor: OURS },
      atMost: 3.5
    }
  ],
  measure
}

function nameOf (routes: number, topics: number): string {
  return `${routes} routes, ${topics === FRESH ? 'fresh' : 'repeated'}`
}

async function measure (competitor: string, { routes, topics: count }: Matching, seconds: number): Promise<Figures> {
  const create = competitor === OURS ? routerMatcher : qlobberMatcher
  const matcher = create(patterns(routes))
  const { topics, matching } = topicsFor(routes, count)
  const inbound = new Inbound(topics)
  const once = inbound.matchAll(matcher)
  if (once !== matching) throw new Error(`${once} of ${matching} topics matched`)
  repeat(inbound, matcher, WARM_UP)
  const stop = startClock()
  const done = repeat(inbound, matcher, seconds)
  // The time that the thread ran for: with nobody to wait for, the clock on the wall shows only what else was going on.
  const { mainMicroseconds, cpuMicroseconds } = stop()
  return { ns: mainMicroseconds * 1000 / done, cpu: cpuMicroseconds * 1000 / done }
}

/** Returns how many topics were matched. */
function repeat (inbound: Inbound, matcher: Matcher, seconds: number): number {
  const end = performance.now() + seconds * 1000
  let done = 0
  for (; performance.now() < end; done += inbound.count) inbound.matchAll(matcher)
  return done
}

type NativeBuffer = Buffer & { latin1Slice (start: number, end: number): string }

/** Topics as they lie in what was read from a socket: the string is a new one each time, and so is its hash. */
class Inbound {
  readonly count: number
  readonly #bytes: NativeBuffer
  /** Where each ends. */
  readonly #ends: Uint32Array

  constructor (topics: readonly string[]) {
    this.count = topics.length
    this.#bytes = Buffer.from(topics.join(''), 'latin1') as NativeBuffer
    this.#ends = new Uint32Array(topics.length)
    let end = 0
    topics.forEach((topic, index) => { this.#ends[index] = end += topic.length })
  }

  /** Returns how many routes matched in all. */
  matchAll (matcher: Matcher): number {
    let matches = 0
    let start = 0
    for (const end of this.#ends) {
      matches += matcher(this.#bytes.latin1Slice(start, end))
      start = end
    }
    return matches
  }
}
