import t from 'tap'
import { parsePattern } from '../../lib/topics/pattern.ts'
import { Router } from '../../lib/topics/router.ts'
import type { ConverterMap } from '../../lib/topics/converters.ts'

/*
 * What each placeholder makes of a topic (contract section 3). A row without values does not match.
 */

const UUID = '123e4567-E89B-12d3-a456-426614174000'

const table: Array<[pattern: string, topic: string, params?: Record<string, unknown>, wildcards?: string[]]> = [
  ['<a>', 'x', { a: 'x' }],
  ['<str:a>', 'x', { a: 'x' }],
  ['s/<a>', 's/', undefined],
  ['s/<a>', 's', undefined],
  ['s/<a>', 's/x/y', undefined],
  ['s/<a>/', 's/x/', { a: 'x' }],
  ['s/<a>', 's/ ', { a: ' ' }],
  ['<a>', '$x', undefined],
  ['<a>/x', '$x/x', undefined],
  ['s/<a>', 's/$x', { a: '$x' }],
  ['<str(length=4):a>', 'four', { a: 'four' }],
  ['<str(length=4):a>', 'three', undefined],
  ['<str(length=1):a>', '\u{1f600}', { a: '\u{1f600}' }],
  ['<str(length=2):a>', '\u{1f600}', undefined],
  ['<str(minlength=2):a>', 'a', undefined],
  ['<str(minlength=2):a>', 'abc', { a: 'abc' }],
  ['<str(maxlength=2):a>', 'abc', undefined],
  ['<str(maxlength=2,minlength=2):a>', 'ab', { a: 'ab' }],

  ['<int:n>', '42', { n: 42 }],
  ['<int:n>', '-42', { n: -42 }],
  ['<int:n>', '007', { n: 7 }],
  ['<int:n>', '-0', { n: 0 }],
  ['<int:n>', '9007199254740991', { n: 9007199254740991 }],
  ['<int:n>', '-9007199254740991', { n: -9007199254740991 }],
  ['<int:n>', '9007199254740992', undefined],
  ['<int:n>', '9007199254740993', undefined],
  ...['', '-', '--1', '+3', ' 3', '3 ', '1_000', '1.0', '1e3', '0x10', '\u0663', 'NaN', 'Infinity', '3n', '\uff13']
    .map((text): [string, string] => ['s/<int:n>', `s/${text}`]),
  ['<int(min=0,max=255):n>', '0', { n: 0 }],
  ['<int(min=0,max=255):n>', '255', { n: 255 }],
  ['<int(min=0,max=255):n>', '256', undefined],
  ['<int(min=0,max=255):n>', '-1', undefined],
  ['<int(max=-5):n>', '-5', { n: -5 }],
  ['<int(max=-5):n>', '-4', undefined],

  ['<float:x>', '1', { x: 1 }],
  ['<float:x>', '-1.50', { x: -1.5 }],
  ['<float:x>', '-0.0', { x: 0 }],
  ['<float:x>', '1e5', undefined],
  ['<float:x>', `1${'0'.repeat(308)}`, { x: 1e308 }],
  ['<float:x>', `1${'0'.repeat(309)}`, undefined],
  ...['', '-', '.', '1.', '.5', '-.5', '1.2.3', '1,5', 'nan', 'inf', '+1.5', ' 1.5', '1.5f']
    .map((text): [string, string] => ['s/<float:x>', `s/${text}`]),
  ['<float(min=-1.5,max=1.5):x>', '-1.5', { x: -1.5 }],
  ['<float(min=-1.5,max=1.5):x>', '1.51', undefined],

  ['<uuid:u>', UUID, { u: UUID }],
  ['<uuid:u>', UUID.replaceAll('-', ''), undefined],
  ['<uuid:u>', `{${UUID}}`, undefined],
  ['<uuid:u>', UUID.replace('1', 'g'), undefined],
  ['<uuid:u>', `${UUID.slice(0, -1)}\n`, undefined],

  ['<any(on,off):s>', 'on', { s: 'on' }],
  ['<any(on,off):s>', 'off', { s: 'off' }],
  ['<any(on,off):s>', 'On', undefined],
  ['<any(on,off):s>', 'on,off', undefined],
  ['<any(a:b,c d,\u00e9):s>', 'a:b', { s: 'a:b' }],
  ['<any(a:b,c d,\u00e9):s>', 'c d', { s: 'c d' }],
  ['<any(__proto__):s>', 'constructor', undefined],

  ['f/<path:p>', 'f/a', { p: 'a' }],
  ['f/<path:p>', 'f/a/b/c', { p: 'a/b/c' }],
  ['f/<path:p>', 'f/a//c/', { p: 'a//c/' }],
  ['f/<path:p>', 'f//', { p: '/' }],
  ['f/<path:p>', 'f/', undefined],
  ['f/<path:p>', 'f', undefined],
  ['<path:p>', 'a/b', { p: 'a/b' }],
  ['<path:p>', '/', { p: '/' }],
  ['<path:p>', '$SYS/x', undefined],
  ['$SYS/<path:p>', '$SYS/x', { p: 'x' }],

  ['a/+/c/+', 'a/1/c/2', {}, ['1', '2']],
  ['a/+', 'a/', {}, ['']],
  ['a/#', 'a/b/c', {}, ['b/c']],
  ['a/#', 'a/', {}, ['']],
  ['a/#', 'a', {}, []],
  ['#', 'a', {}, ['a']],
  ['+/<int:n>/+/<b>/#', 'x/1/y/z/r/s', { n: 1, b: 'z' }, ['x', 'y', 'r/s']],
  ['<a>/<int:n>', 'x/1', { a: 'x', n: 1 }],
  ['<__proto__>/<constructor>', 'x/y', JSON.parse('{"__proto__":"x","constructor":"y"}')],
  ['<gr\u00f6\u00dfe>/<$a_1>', 'x/y', { gr\u00f6\u00dfe: 'x', $a_1: 'y' }],
  ['<hex:h>', 'ff', { h: 255 }],
  ['<hex:h>', 'fg', undefined],
  ['<hex:h>', 'ff0', undefined],
  ['s/<hex:h>', 's/', undefined],
  ['<hex:h>/x', '$f/x', undefined]
]

const converters: ConverterMap = {
  hex: { pattern: /[0-9a-f]{2}|/g, parse: text => Number.parseInt(text, 16), format: String }
}

for (const [pattern, topic, params, wildcards = []] of table) {
  t.test(`${pattern} ${params === undefined ? 'does not match' : 'matches'} ${topic.slice(0, 40)}`, async t => {
    const router = new Router<true>()
    router.add(parsePattern(pattern, converters), true)
    const [match] = router.match(topic)
    if (params === undefined) {
      t.equal(match, undefined)
      return
    }
    t.equal(Object.getPrototypeOf(match!.params), null, 'no prototype')
    t.ok(Object.isFrozen(match!.params) && Object.isFrozen(match!.wildcards), 'frozen')
    t.strictSame(Object.entries(match!.params), Object.entries(params))
    for (const name of Object.keys(params)) t.ok(Object.is(match!.params[name], params[name]), `${name} is the same, -0 too`)
    t.strictSame(match!.wildcards, wildcards)
  })
}

t.test('a custom converter', async t => {
  const match = (converter: ConverterMap[string], text: string): unknown => {
    const router = new Router<true>()
    router.add(parsePattern('a/<own:x>', { own: converter }), true)
    return router.match(`a/${text}`)[0]?.params.x
  }
  const format = String
  const keep = (text: string): string => text

  await t.test('matches whole levels, whatever its flags', async t => {
    for (const flags of ['', 'g', 'y', 'gy', 'm', 'gimsuy', 'v']) {
      const pattern = new RegExp('ab|abc', flags)
      const router = new Router<true>()
      router.add(parsePattern('<own:x>', { own: { pattern, parse: keep, format } }), true)
      for (let i = 0; i < 20; i++) {
        pattern.lastIndex = 1
        t.equal(router.match('abc').length, 1, `${flags} abc`)
        t.equal(router.match(`abd${i}`).length, 0, `${flags} abd`)
        t.equal(router.match(`ab\nx${i}`).length, 0, `${flags} with a line more`)
      }
    }
    t.equal(match({ pattern: /^a$/m, parse: keep, format }, 'a\nb'), undefined, 'anchors are those of the level')
    t.equal(match({ pattern: /(a)\1/, parse: keep, format }, 'aa'), 'aa', 'groups keep their numbers')
  })

  await t.test('does not match when parse throws or has no value', async t => {
    t.equal(match({ pattern: /.+/, parse () { throw new Error('no') }, format }, 'x'), undefined)
    t.equal(match({ pattern: /.+/, parse: () => undefined, format }, 'x'), undefined)
    t.equal(match({ pattern: /.+/, parse: () => NaN, format }, 'x'), undefined)
    t.equal(match({ pattern: /.+/, parse: () => null, format }, 'x'), null, 'null is a value')
  })

  await t.test('has itself as this', async t => {
    const own = { base: 16, pattern: /[0-9a-f]+/, parse (text: string) { return Number.parseInt(text, this.base) }, format (n: unknown) { return (n as number).toString(this.base) } }
    t.equal(match(own, 'ff'), 255)
  })

  await t.test('gives each message its own object', async t => {
    const router = new Router<true>()
    router.add(parsePattern('<at:day>', { at: { pattern: /[0-9-]+/, parse: text => new Date(text), format: String } }), true)
    const seen = new Set(Array.from({ length: 40 }, () => router.match('2020-01-01')[0]!.params.day))
    t.equal(seen.size, 40)
    router.add(parsePattern('<fn:f>', { fn: { pattern: /f/, parse: () => () => 1, format: String } }), true)
    t.equal(new Set(Array.from({ length: 40 }, () => router.match('f')[0]!.params.f)).size, 40)
  })

  await t.test('shares its way only with itself', async t => {
    let parsed = 0
    const own = { pattern: /.+/, parse: (text: string) => { parsed++; return text }, format }
    const router = new Router<number>()
    router.add(parsePattern('<own:a>/x', { own }), 1)
    router.add(parsePattern('<own:b>/y', { own }), 2)
    router.add(parsePattern('<own:b>/y', { own: { ...own, parse: text => `other ${text}` } }), 3)
    t.same(router.match('1/y').map(({ value, params }) => [value, params.b]), [[2, '1'], [3, 'other 1']])
    t.equal(parsed, 1)
  })
})
