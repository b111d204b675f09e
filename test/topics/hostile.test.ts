import t from 'tap'
import { MatchCache } from '../../lib/topics/cache.ts'
import type { ConverterMap } from '../../lib/topics/converters.ts'
import { filterMatches } from '../../lib/topics/filter.ts'
import { parsePattern } from '../../lib/topics/pattern.ts'
import { Router } from '../../lib/topics/router.ts'

/*
 * What a publisher may send to be a nuisance. Work is counted, not timed: by a converter that counts its calls.
 */

let calls = 0
const converters: ConverterMap = {
  own: { pattern: /[^]+/, parse (text) { calls++; return text }, format: String }
}

function work (router: Router<unknown>, topic: string): number {
  calls = 0
  router.match(topic)
  return calls
}

t.test('each node is visited at most once, however many ways lead on', async t => {
  const router = new Router<number>()
  let patterns: string[] = ['']
  // 3 ways on from each of 4 levels: 81 patterns, 1 + 3 + 9 + 27 nodes with a counting branch.
  for (let level = 0; level < 4; level++) patterns = patterns.flatMap(text => ['a', '+', `<own:n${level}>`].map(way => `${text}${way}/`))
  for (const [i, pattern] of patterns.entries()) router.add(parsePattern(pattern.slice(0, -1), converters), i)
  t.equal(work(router, 'a/a/a/a'), 40)
  t.equal(router.match('a/a/a/a').length, 81)
  t.equal(work(router, 'a/a/a/a/a'), 40)
  t.equal(router.match('a/a/a/a/a').length, 0)
})

t.test('deep patterns that overlap at every level', async t => {
  const router = new Router<string>()
  const depth = 128
  for (let turn = 1; turn < depth; turn++) {
    for (const [before, after] of [['+', '<own:@>'], ['<own:@>', '+'], ['x', '<own:@>'], ['<own:@>', 'x']] as const) {
      const levels = Array.from({ length: depth }, (_, i) => (i < turn ? before : after).replace('@', `n${i}`))
      router.add(parsePattern(levels.join('/'), converters), `${before} ${turn}`)
    }
  }
  const nodes = 4 * depth * depth
  t.ok(work(router, Array(depth).fill('x').join('/')) <= nodes)
  t.equal(router.match(Array(depth).fill('x').join('/')).length, 4 * (depth - 1))
  t.ok(work(router, `${Array(depth - 1).fill('x').join('/')}/`) <= nodes)
})

t.test('long topics cost no more steps than short ones', async t => {
  const router = new Router<string>()
  for (const pattern of ['#', '+/#', '+/+/#', '<own:a>/<own:b>/#', '<own:a>/+/<own:b>', '<path:p>', 'a/<path:p>', '<int:n>/#', '<float:x>', '<uuid:u>/+', '<str(maxlength=4):s>', '<any(a,b):s>']) {
    router.add(parsePattern(pattern, converters), pattern)
  }
  const short = work(router, 'x/x/x')
  for (const topic of [
    '/'.repeat(65_535), 'x/'.repeat(500_000), 'x'.repeat(1_000_000), '1'.repeat(1_000_000), `-${'0'.repeat(1_000_000)}`, `1.${'1'.repeat(1_000_000)}`,
    '\u{1f600}'.repeat(500_000), `${'x'.repeat(1_000_000)}/x/x`, 'a/'.repeat(65_535), '$'.repeat(65_535), '\ud800'.repeat(65_535), '\0'.repeat(65_535), '+/#/<x>'
  ]) {
    for (let i = 0; i < 3; i++) t.ok(work(router, topic) <= short, `${topic.slice(0, 10)}... ${topic.length}`)
  }
  t.strictSame(router.match('x'.repeat(1_000_000)).map(({ value }) => value), ['#', '+/#', '<path:p>'])
  t.equal(filterMatches(`${'+/'.repeat(60)}#`, 'x/'.repeat(500_000)), true)
})

t.test('names of the prototype are names like others', async t => {
  const router = new Router<string>()
  const names = ['__proto__', 'constructor', 'toString', 'hasOwnProperty', 'valueOf']
  for (const name of names) router.add(parsePattern(`a/<int:n>/${name}`), name)
  router.add(parsePattern('__proto__/constructor'), 'static')
  for (const name of names) {
    t.strictSame(router.match(`a/1/${name}`).map(({ value }) => value), [name])
    t.equal(router.match(`${name}/1/x`).length, 0)
    t.equal(router.match(name).length, 0)
  }
  t.equal(router.match('__proto__/constructor').length, 1)
  t.equal(({} as Record<string, unknown>).n, undefined)
})

t.test('the cache stays small', async t => {
  const cache = new MatchCache<number>()
  const present = (topics: readonly string[]): number => topics.filter(topic => cache.get(topic) !== undefined).length
  cache.set('x'.repeat(1_025), [])
  t.equal(cache.get('x'.repeat(1_025)), undefined, 'no long topics')
  const topics = Array.from({ length: 20_000 }, (_, i) => `t/${i}`)
  for (const topic of topics) cache.set(topic, [])
  t.ok(present(topics.toReversed()) <= 10_000, 'two generations of 5 000')
  t.strictSame(cache.get('t/19999'), [])
  const matches = Array.from({ length: 1_000 }, (_, i) => i)
  for (const topic of topics) cache.set(topic, matches)
  t.ok(present(topics.toReversed()) <= 40, 'fewer when each has many matches')
  cache.set('huge', Array(20_001).fill(0))
  t.equal(cache.get('huge'), undefined)
  cache.clear()
  t.equal(present(topics), 0)
})
