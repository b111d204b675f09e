import fc from 'fast-check'
import t from 'tap'
import { buildTopic } from '../../lib/topics/build.ts'
import { FST_MQTT_PARAM } from '../../lib/topics/errors.ts'
import { parsePattern, type Pattern } from '../../lib/topics/pattern.ts'
import { Router } from '../../lib/topics/router.ts'
import { topicNameError } from '../../lib/topics/topic.ts'
import * as arbitrary from './arbitraries.ts'
import type { ConverterMap } from '../../lib/topics/converters.ts'

const converters = {
  hex: { pattern: /[0-9a-f]+/, parse: text => Number.parseInt(text, 16), format: (n: unknown) => (n as number).toString(16) },
  raw: { pattern: /[^]*/, parse: text => text, format: value => value as string },
  day: { pattern: /\d{4}-\d\d-\d\d/, parse: text => new Date(text), format: (day: unknown) => (day as Date).toISOString().slice(0, 10) },
  once: { pattern: /.+/, parse: text => ({ text }), format (value: unknown) { if ((value as { text: string }).text !== undefined) throw new Error('no'); return 'x' } },
  odd: { pattern: /.+/, parse: text => text, format () { throw 'not an error' } } // eslint-disable-line no-throw-literal
} satisfies ConverterMap

const build = (pattern: string, params?: Record<string, unknown>): string => buildTopic(parsePattern(pattern, converters), params)

t.test('topics from values', async t => {
  const long = '0'.repeat(20)
  const table: Array<[pattern: string, params: Record<string, unknown> | undefined, topic: string]> = [
    ['number/<int:n>', { n: 42 }, 'number/42'],
    ['a/b', undefined, 'a/b'],
    ['a/b', {}, 'a/b'],
    ['<int:n>', { n: -42 }, '-42'],
    ['<int:n>', { n: -0 }, '0'],
    ['<int:n>', { n: Number.MIN_SAFE_INTEGER }, '-9007199254740991'],
    ['<float:x>', { x: 1.5 }, '1.5'],
    ['<float:x>', { x: -0 }, '0'],
    ['<float:x>', { x: 3 }, '3'],
    ['<float:x>', { x: 1e21 }, `1${long}0`],
    ['<float:x>', { x: -1.25e22 }, `-125${long}`],
    ['<float:x>', { x: 1e-7 }, '0.0000001'],
    ['<float:x>', { x: -1.5e-9 }, '-0.0000000015'],
    ['<a>/<path:p>', { a: 'x y', p: '/b//c/' }, 'x y//b//c/'],
    ['$SYS/<a>', { a: '$x' }, '$SYS/$x'],
    ['<any(on,off):s>', { s: 'off' }, 'off'],
    ['<uuid:u>', { u: '123E4567-e89b-12d3-a456-426614174000' }, '123E4567-e89b-12d3-a456-426614174000'],
    ['<hex:h>', { h: 255 }, 'ff'],
    ['<day:d>', { d: new Date('2020-01-02') }, '2020-01-02'],
    ['//<a>/', { a: 'x' }, '//x/'],
    ['<__proto__>/<constructor>', JSON.parse('{"__proto__":"x","constructor":"y"}'), 'x/y']
  ]
  for (const [pattern, params, topic] of table) t.equal(build(pattern, params), topic, `${pattern} ${topic}`)
  t.equal(build('<float:x>', { x: Number.MAX_VALUE }).length, 309)
  t.equal(Number(build('<float:x>', { x: 5e-324 })), 5e-324)
})

t.test('what cannot be built, naming the parameter', async t => {
  const table: Array<[pattern: string, params: unknown, reason: RegExp]> = [
    ['a/<n>', undefined, /parameter "n" of "a\/<n>" is missing/],
    ['a/<n>', null, /must be an object, not null/],
    ['a/<n>', 'x', /must be an object, not "x"/],
    ['a/<n>', {}, /"n".* is missing/],
    ['a/<n>', { n: undefined }, /"n".* cannot be undefined/],
    ['a/<n>', { n: null }, /"n".* cannot be null/],
    ['a/<n>', { n: 1 }, /"n".* cannot be 1: it is of the wrong type/],
    ['a/<n>', { n: true }, /"n".* cannot be true/],
    ['a/<n>', { n: ['x'] }, /"n".* cannot be an array/],
    ['a/<n>', { n: { toString: () => 'x' } }, /"n".* cannot be an object/],
    ['a/<n>', { n: () => 'x' }, /"n".* cannot be a function/],
    ['a/<n>', { n: Symbol('x') }, /"n".* cannot be a symbol/],
    ['a/<n>', { n: 'x', m: 'y', }, /has no parameter "m"; known are n/],
    ['a', { m: 'y' }, /has no parameter "m"; there are none/],
    ['a/<n>', { n: 'x', constructor: 'y' }, /has no parameter "constructor"/],
    ['<constructor>', {}, /"constructor".* is missing/],
    ['<__proto__>', {}, /"__proto__".* is missing/],
    ['<toString>', Object.create({ toString: 'x' }), /"toString".* is missing/],
    ['a/<n>', { n: '' }, /"n".* cannot be "": it is empty/],
    ['a/<n>', { n: 'x/y' }, /"n".* holds "\/"/],
    ['a/<n>', { n: 'x+' }, /"n".* holds "\+"/],
    ['a/<n>', { n: '#' }, /"n".* holds "#"/],
    ['a/<n>', { n: '\0' }, /"n".* holds NUL/],
    ['a/<n>', { n: '\ud800' }, /"n".* holds a lone surrogate/],
    ['<n>/a', { n: '$SYS' }, /"n".* begins with "\$"/],
    ['<path:n>', { n: '$SYS/x' }, /"n".* begins with "\$"/],
    ['<path:n>', { n: '' }, /"n".* is empty/],
    ['<path:n>', { n: 'x/+/y' }, /"n".* holds "\+"/],
    ['a/<int:n>', { n: 1.5 }, /"n".* cannot be 1.5: <int:n> would not read it back/],
    ['a/<int:n>', { n: '1' }, /"n".* cannot be "1": it is of the wrong type/],
    ['a/<int:n>', { n: 1n }, /"n".* cannot be a bigint/],
    ['a/<int:n>', { n: 2 ** 53 }, /would not read it back/],
    ['a/<int:n>', { n: 1e21 }, /would not read it back/],
    ['a/<int:n>', { n: NaN }, /cannot be NaN/],
    ['a/<int(min=0,max=255):n>', { n: 256 }, /cannot be 256: <int\(min=0,max=255\):n> would not/],
    ['a/<float:n>', { n: Infinity }, /cannot be Infinity/],
    ['a/<str(length=2):n>', { n: 'abc' }, /would not read it back/],
    ['a/<uuid:n>', { n: 'abc' }, /would not read it back/],
    ['a/<any(on,off):n>', { n: 'On' }, /would not read it back/],
    ['a/<n>', { n: 'x'.repeat(65_534) }, /"n".* longer than 65 535 bytes/],
    ['<m>/<path:n>', { m: 'x', n: '\u20ac/'.repeat(20_000) }, /"n".* longer than 65 535 bytes/],
    ['a/+', {}, /unnamed wildcard; use <name> for "\+"/],
    ['a/<n>/#', { n: 'x' }, /unnamed wildcard/],
    ['a/<raw:n>', { n: 5 }, /"n".* does not format it as a string/],
    ['a/<raw:n>', { n: 'x/y' }, /"n".* holds "\/"/],
    ['a/<hex:n>', { n: null }, /"n".* cannot format null/],
    ['a/<odd:n>', { n: 1 }, /"n".* cannot format 1: not an error/],
    ['a/<day:n>', { n: new Date(NaN) }, /"n".* cannot format an object/],
    ['a/<day:n>', { n: { toISOString: () => 'x' } }, /"n".* would not read it back/],
    ['a/<once:n>', { n: {} }, /"n".* would not read it back/]
  ]
  for (const [pattern, params, reason] of table) {
    t.throws(() => build(pattern, params as Record<string, unknown>), { code: 'FST_MQTT_PARAM', message: reason }, `${pattern} ${reason}`)
  }
  t.throws(() => build('<n>', { n: 'x/'.repeat(1_000) }), { message: /^.{0,120}$/ }, 'a long value is not shown whole')
  t.ok(FST_MQTT_PARAM('x') instanceof Error, 'the constructor can be called without new')
})

t.test('P22: no value leaves its level, and what is built is read back', async t => {
  const patterns = ['<v>', 'a/<v>/b', 'a/<int:v>', 'a/<float:v>/b', 'a/<any(on,1,-0):v>', 'a/<path:v>', '<path:v>', 'a/<str(maxlength=3):v>', 'a/<hex:v>', 'a/<raw:v>']
    .map(text => parsePattern(text, converters))
  let built = 0
  let tried = 0
  fc.assert(fc.property(arbitrary.nastyValue, value => {
    for (const pattern of patterns) {
      tried++
      const topic = attempt(pattern, value)
      if (topic === undefined) continue
      built++
      if (topicNameError(topic) !== null) throw new Error(`no topic name: ${JSON.stringify(topic)}`)
      const [first, last] = [pattern.levels[0]!, pattern.levels.at(-1)!]
      if (last.kind !== 'path' && topic.split('/').length !== pattern.levels.length) throw new Error(`left its level: ${topic}`)
      if (first.kind === 'literal' && !topic.startsWith('a/')) throw new Error(`left its place: ${topic}`)
      const router = new Router<true>()
      router.add(pattern, true)
      const [match] = router.match(topic)
      if (match === undefined || match.params.v !== value) throw new Error(`not read back: ${pattern.text} ${topic}`)
    }
  }), { numRuns: 12_000 })
  t.ok(tried >= 100_000, `${tried} values`)
  t.ok(built > 10_000, `${built} topics`)
})

t.test('a topic that matched can be built again from its parameters', async t => {
  let matched = 0
  fc.assert(fc.property(arbitrary.pattern, arbitrary.topic, (text, topic) => {
    const pattern = parsePattern(text)
    const router = new Router<true>()
    router.add(pattern, true)
    const [match] = router.match(topic)
    if (match === undefined || pattern.hasUnnamedWildcards) return
    matched++
    const again = router.match(buildTopic(pattern, match.params))
    if (JSON.stringify(again[0]!.params) !== JSON.stringify(match.params)) throw new Error(`${text} ${topic}`)
  }), { numRuns: 20_000 })
  t.ok(matched > 500, `${matched} topics`)
})

function attempt (pattern: Pattern, value: unknown): string | undefined {
  try {
    return buildTopic(pattern, { v: value })
  } catch (error) {
    if (!(error instanceof FST_MQTT_PARAM) || !error.message.includes('"v"')) throw error
    return undefined
  }
}
