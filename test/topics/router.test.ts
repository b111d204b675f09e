import fc from 'fast-check'
import t from 'tap'
import { parsePattern, type Pattern } from '../../lib/topics/pattern.ts'
import { withPrefix } from '../../lib/topics/prefix.ts'
import { Router } from '../../lib/topics/router.ts'
import * as arbitrary from './arbitraries.ts'
import { referenceMatch } from './reference.ts'

function routerOf (...patterns: string[]): Router<string> {
  const router = new Router<string>()
  for (const pattern of patterns) router.add(parsePattern(pattern), pattern)
  return router
}

const values = <T>(router: Router<T>, topic: string): T[] => router.match(topic).map(({ value }) => value)

t.test('every match comes, in order of registration', async t => {
  const patterns = ['#', 'a/<path:p>', 'a/+', 'a/1', 'a/<int:n>', 'a/<x>', '+/1', 'a/#', 'b/1', 'a/1/#', '<float:f>/1']
  const router = routerOf(...patterns)
  t.strictSame(values(router, 'a/1'), patterns.filter(pattern => !['b/1', '<float:f>/1'].includes(pattern)))
  t.equal(router.size, patterns.length)
})

t.test('routes may share a pattern, and a value', async t => {
  const router = new Router<string>()
  const pattern = parsePattern('a/<int:n>')
  for (const value of ['x', 'y', 'x']) router.add(pattern, value)
  router.add(parsePattern('a/<int:m>'), 'x')
  t.strictSame(router.match('a/1').map(({ value, params }) => [value, { ...params }]), [
    ['x', { n: 1 }], ['y', { n: 1 }], ['x', { n: 1 }], ['x', { m: 1 }]
  ])
  t.equal(router.remove(parsePattern('a/<int:m>'), 'x'), true)
  t.strictSame(values(router, 'a/1'), ['x', 'y', 'x'], 'the one with that name')
  t.equal(router.remove(pattern, 'x'), true)
  t.strictSame(values(router, 'a/1'), ['y', 'x'], 'the first of two')
  t.equal(router.remove(pattern, 'z'), false)
  t.equal(router.size, 2)
})

t.test('the same of static routes', async t => {
  const router = new Router<number>()
  const pattern = parsePattern('a/b')
  for (const value of [1, 2, 1]) router.add(pattern, value)
  t.equal(router.remove(pattern, 1), true)
  t.strictSame(values(router, 'a/b'), [2, 1])
  t.equal(router.remove(pattern, 1), true)
  t.equal(router.remove(pattern, 1), false)
  t.equal(router.remove(pattern, 2), true)
  t.equal(router.remove(pattern, 2), false)
  t.equal(router.size, 0)
})

t.test('what was never added cannot be removed', async t => {
  const router = routerOf('a/<int:n>/b', 'a/b')
  for (const text of ['a/<int:n>', 'a/<int:n>/b/c', 'a/<str:n>/b', 'a/+/b', 'a/#', 'a/<path:p>', 'x/+', 'a/c', 'a/<int(min=0):n>/b']) {
    t.equal(router.remove(parsePattern(text), text), false, text)
  }
  t.equal(router.size, 2)
})

t.test('an empty router and an empty topic match nothing', async t => {
  t.strictSame(new Router<string>().match('a'), [])
  t.strictSame(routerOf('#', '+', '<path:p>').match(''), [])
})

t.test('the same as the naive reference', async () => {
  fc.assert(fc.property(fc.array(arbitrary.pattern, { maxLength: 8 }), fc.array(arbitrary.topic, { maxLength: 8 }), (patterns, topics) => {
    const router = routerOf(...patterns)
    for (const topic of topics) compare(router, patterns, topic)
  }), { numRuns: 3_000 })
})

t.test('the same as the reference while routes come and go', async () => {
  const step = fc.oneof(
    fc.record({ add: arbitrary.pattern }),
    fc.record({ remove: fc.nat() }),
    fc.record({ match: arbitrary.topic })
  )
  fc.assert(fc.property(fc.array(step, { minLength: 5, maxLength: 60 }), fc.array(arbitrary.topic, { minLength: 1, maxLength: 3 }), (steps, topics) => {
    const router = new Router<string>()
    const patterns: string[] = []
    for (const one of steps) {
      if ('add' in one) {
        patterns.push(one.add)
        router.add(parsePattern(one.add), one.add)
      } else if ('remove' in one) {
        const pattern = patterns[one.remove % (patterns.length || 1)] ?? 'a'
        const index = patterns.indexOf(pattern)
        if (index !== -1) patterns.splice(index, 1)
        if (router.remove(parsePattern(pattern), pattern) !== (index !== -1)) throw new Error(`remove ${pattern}`)
      } else {
        compare(router, patterns, one.match)
      }
      // More often than the cache leaves a topic out.
      for (let i = 0; i < 9; i++) for (const topic of topics) compare(router, patterns, topic)
    }
    if (router.size !== patterns.length) throw new Error('size')
    for (const pattern of patterns) router.remove(parsePattern(pattern), pattern)
    if (router.print() !== '(no topics)\n') throw new Error('print')
  }), { numRuns: 500 })
})

t.test('more topics than are remembered, again and again', async t => {
  const router = routerOf('a/<int:n>', 'b/+')
  for (let round = 0; round < 4; round++) {
    for (let i = 0; i < 12_000; i++) {
      const [match] = router.match(`a/${i}`)
      if (match?.params.n !== i) t.fail(`a/${i} in round ${round}`)
    }
  }
  for (let i = 0; i < 100_000; i++) router.match(`b/${i % 5_500}`)
  router.add(parsePattern('#'), '#')
  t.equal(router.match('a/1').length, 2, 'forgotten when the routes change')
})

t.test('what a remembered topic matched cannot be changed by who gets it', async t => {
  const router = routerOf('a/<int:n>/+')
  for (let i = 0; i < 20; i++) {
    const [match] = router.match('a/1/x')
    t.throws(() => { (match!.params as { n: number }).n = 2 }, TypeError)
    t.throws(() => { (match!.wildcards as string[]).push('y') }, TypeError)
  }
})

t.test('a prefix is the first level', async t => {
  const router = new Router<string>()
  const add = (prefix: string, pattern: string): void => router.add(withPrefix(parsePattern(pattern), prefix), `${prefix}|${pattern}`)
  add('$SYS', '#')
  add('$SYS/broker', '<x>')
  add('p', '#')
  add('p', '<path:rest>')
  add('', '#')
  t.strictSame(values(router, '$SYS/broker/load'), ['$SYS|#', '$SYS/broker|<x>'])
  t.strictSame(values(router, '$SYS'), ['$SYS|#'])
  t.strictSame(values(router, 'p'), ['p|#', '|#'])
  t.strictSame(router.match('p')[0]!.wildcards, [])
  t.strictSame(values(router, 'p/'), ['p|#', '|#'])
  t.strictSame(values(router, 'p/$x'), ['p|#', 'p|<path:rest>', '|#'])
  t.strictSame(values(router, 'pp/x'), ['|#'])
})

t.test('print', async t => {
  const router = new Router<string>()
  const add = (pattern: string, value = ''): void => router.add(parsePattern(pattern), value)
  t.equal(router.print(), '(no topics)\n')
  add('devices/<int:id>/status', 'status')
  add('devices/<int:id>/command', 'command')
  add('devices/<int:id>', 'device')
  add('devices/+')
  add('$SYS/#', 'sys')
  add('$SYS/#', 'again')
  add('/')
  t.equal(router.print(value => value), `\
├── devices/
│   ├── <int:id> (device)
│   │   ├── /status (status)
│   │   └── /command (command)
│   └── +
├── $SYS/# (sys, again)
└── /
`)
  t.equal(routerOf('a/<int:n>').print(), '└── a/<int:n>\n')
})

t.test('nodes that nothing needs go', async t => {
  const router = new Router<number>()
  const patterns: Pattern[] = ['a/+/<int:n>/b', 'a/+/<int:n>/#', 'a/+/<int:n>', 'a/x/<path:p>', 'a/+', 'a/<int:i>/<any(u,v):w>', 'a/<int:i>/<any(u):w>']
    .map(text => parsePattern(text))
  for (const order of [patterns, patterns.toReversed()]) {
    for (const [i, pattern] of patterns.entries()) router.add(pattern, i)
    for (const [i, pattern] of order.entries()) {
      t.equal(router.remove(pattern, patterns.indexOf(pattern)), true)
      const left = order.slice(i + 1).map(({ text }) => text)
      for (const topic of ['a/1/2/b', 'a/1/2', 'a/1/2/c/d', 'a/x/y', 'a/1', 'a/1/u']) {
        t.equal(router.match(topic).length, left.filter(text => referenceMatch(text, topic) !== null).length, `${topic} with ${left.join(' ')}`)
      }
    }
  }
})

function compare (router: Router<string>, patterns: readonly string[], topic: string): void {
  const wanted = patterns.flatMap(pattern => {
    const match = referenceMatch(pattern, topic)
    return match === null ? [] : [{ value: pattern, params: Object.entries(match.params), wildcards: match.wildcards }]
  })
  const found = router.match(topic).map(({ value, params, wildcards }) => ({ value, params: Object.entries(params), wildcards }))
  const [a, b] = [JSON.stringify(found), JSON.stringify(wanted)]
  if (a !== b) throw new Error(`${topic}: found ${a}, wanted ${b}`)
}
