import t from 'tap'
import { FST_MQTT_PATTERN } from '../../lib/topics/errors.ts'
import { parsePattern } from '../../lib/topics/pattern.ts'
import type { ConverterMap } from '../../lib/topics/converters.ts'

const format = String
const parse = String
const converters = {
  hex: { pattern: /[0-9a-f]+/, parse, format },
  'no-name': { pattern: /x/, parse, format },
  bare: { parse, format },
  text: { pattern: 'x', parse, format },
  nothing: null
} as unknown as ConverterMap

t.test('what a pattern subscribes to', async t => {
  for (const [pattern, filter] of [
    ['a/b', 'a/b'], ['a/<b>', 'a/+'], ['<int(min=0):n>/x', '+/x'], ['a/<path:rest>', 'a/#'], ['a/+/#', 'a/+/#'],
    ['/', '/'], ['//<a>//', '//+//'], ['#', '#'], ['<hex:h>', '+'], ['$SYS/<any(a,b):x>', '$SYS/+'], ['$share', '$share'], ['$shared/g/x', '$shared/g/x']
  ] as const) t.equal(parsePattern(pattern, converters).filter, filter, pattern)
})

t.test('what a pattern says of itself', async t => {
  const { names, hasUnnamedWildcards, isStatic, levels, text } = parsePattern('a/<int:n>/+/<path:rest>')
  t.strictSame(names, ['n', 'rest'])
  t.equal(hasUnnamedWildcards, true)
  t.equal(isStatic, false)
  t.strictSame(levels.map(({ kind }) => kind), ['literal', 'placeholder', 'plus', 'path'])
  t.equal(text, 'a/<int:n>/+/<path:rest>')
  t.equal(parsePattern('a//b').isStatic, true)
  t.equal(parsePattern('a/<path:p>').hasUnnamedWildcards, false)
  t.equal(parsePattern('a/#').hasUnnamedWildcards, true)
})

/** The caret stands under the place. */
const errors: Array<[pattern: string, caret: string, reason: RegExp]> = [
  ['', '^', /is empty/],
  ['a/<foo:x>', '   ^', /Unknown converter "foo"; known are str, int, float, uuid, any, path, hex.*converters/],
  ['a/<toString:x>', '   ^', /Unknown converter "toString"/],
  ['a/<:x>', '   ^', /Unknown converter ""/],
  ['<int(mni=0):x>', '     ^', /Unknown argument "mni"; known are min, max/],
  ['<int(min=0, max=1):x>', '           ^', /Unknown argument " max".*without spaces/],
  ['<int(5):x>', '     ^', /Unknown argument "5"/],
  ['<int():x>', '     ^', /Unknown argument ""/],
  ['<int(min):x>', '        ^', /"min" has no value/],
  ['<int(min=):x>', '         ^', /"min" must be a whole number/],
  ['<int(min=1.5):x>', '         ^', /"min" must be a whole number/],
  ['<int(min=9007199254740992):x>', '         ^', /safe integers/],
  ['<int(min=0,min=1):x>', '           ^', /"min" is given twice/],
  ['<int(min=2,max=1):x>', '           ^', /min is greater than max/],
  ['<float(max=-2,min=-1.5):x>', '              ^', /min is greater than max/],
  ['<float(min=1e3):x>', '           ^', /"min" must be a number in digits/],
  ['<str(length=0):x>', '            ^', /"length" must be a whole number, 1 or more/],
  ['<str(length=2,minlength=1):x>', '              ^', /length says it all/],
  ['<str(minlength=3,maxlength=2):x>', '                 ^', /minlength is greater/],
  ['<str(max=3):x>', '     ^', /Unknown argument "max"; known are length, minlength, maxlength/],
  ['<uuid(4):x>', '      ^', /uuid takes no arguments/],
  ['<path():x>', '      ^', /path takes no arguments/],
  ['<hex(2):x>', '     ^', /custom converter "hex" takes no arguments/],
  ['<any:x>', ' ^', /any needs the levels/],
  ['<any():x>', '     ^', /empty item/],
  ['<any(a,):x>', '       ^', /empty item/],
  ['<any(a,b+c):x>', '        ^', /hold none of/],
  ['<any(a,#):x>', '       ^', /hold none of/],
  ['<any(a(b):x>', '      ^', /hold none of/],
  ['<any(a,b,a):x>', '         ^', /"a" is listed twice/],
  ['<int:a>/<a>', '         ^', /two placeholders named "a"/],
  ['<2x>', ' ^', /"2x" is no name/],
  ['<int:a-b>', '     ^', /"a-b" is no name/],
  ['<int:a:b>', '     ^', /"a:b" is no name/],
  ['<int:>', '     ^', /has no name/],
  ['<>', ' ^', /has no name/],
  ['<int(min=0>', '    ^', /not closed; put a "\)"/],
  ['<int(min=0)>', '           ^', /After "\)" come ":"/],
  ['<int(min=0)n>', '           ^', /After "\)" come ":"/],
  ['a-<n>', '  ^', /text before the placeholder/],
  ['<n>-a', '   ^', /more in this level/],
  ['<a><b>', '   ^', /more in this level/],
  ['<a<b>', '  ^', /more in this level/],
  ['x/a>', '   ^', /no "<" to this ">"/],
  ['x/<a', '  ^', /not closed/],
  ['<any(a/b):x>', '^', /not closed; its ">" must come before the next "\/"/],
  ['a/b+', '   ^', /"\+" must fill a whole level/],
  ['a/b#', '   ^', /"#" must fill a whole level/],
  ['a/##', '  ^', /"#" must fill/],
  ['a/+b/c', '  ^', /"\+" must fill/],
  ['a/#/b', '  ^', /"#" must be the last level/],
  ['#/', '^', /"#" must be the last level/],
  ['a/<path:p>/b', '  ^', /must be the last level/],
  ['$share/g/a', '^', /group: 'g'/],
  ['$share/', '^', /option group: 'name'/],
  ['a\0b', ' ^', /NUL/],
  ['a\ud800b', ' ^', /lone surrogate/],
  ['a\udc00', ' ^', /lone surrogate/],
  ['<no-name:x>', ' ^', /"no-name" is no name/],
  ['<bare:x>', ' ^', /must be \{ pattern: RegExp/],
  ['<text:x>', ' ^', /must be \{ pattern: RegExp/],
  ['<nothing:x>', ' ^', /must be \{ pattern: RegExp/]
]

t.test('bad patterns, each with its caret', async t => {
  for (const [pattern, caret, reason] of errors) {
    const error = caught(() => parsePattern(pattern, converters))
    t.ok(error instanceof FST_MQTT_PATTERN, pattern)
    t.equal(error.code, 'FST_MQTT_PATTERN')
    const [first, shown, below] = error.message.split('\n')
    t.match(first, reason)
    t.equal(shown, `  ${pattern.replace('\0', '\u2400').replace(/\p{Surrogate}/u, '\ufffd')}`)
    t.equal(below, `  ${caret}`, `${pattern}: ${first}`)
  }
})

t.test('a built-in converter cannot be replaced', async t => {
  const own = { int: { pattern: /x/, parse, format } }
  t.match(caught(() => parsePattern('<int:x>', own)).message, /"int" is built in; give yours another name\n {2}<int:x>\n {3}\^$/)
})

t.test('limits', async t => {
  t.equal(parsePattern('a/'.repeat(127) + 'a').levels.length, 128)
  t.match(caught(() => parsePattern('a/'.repeat(128) + 'a')).message, /more than 128 levels/)
  t.equal(parsePattern('x'.repeat(65_535)).filter.length, 65_535)
  t.equal(parsePattern('\u20ac'.repeat(21_845)).filter.length, 21_845)
  for (const text of ['x'.repeat(65_536), '\u20ac'.repeat(21_846), '\u00e9'.repeat(32_768), '\u{1f600}'.repeat(16_384)]) {
    t.match(caught(() => parsePattern(text)).message, /over 65 535 bytes/)
  }
  t.throws(() => parsePattern(7 as unknown as string), { code: 'FST_MQTT_PATTERN', message: /must be a string, not number/ })
  t.throws(() => parsePattern(null as unknown as string), { code: 'FST_MQTT_PATTERN', message: /not null/ })
})

t.test('the caret in a long pattern stands under the place too', async t => {
  const [, shown, below] = caught(() => parsePattern(`${'a'.repeat(5_000)}+${'b'.repeat(5_000)}`)).message.split('\n')
  t.equal(shown!.length, 2 + 1 + 120 + 1)
  t.equal(shown![below!.indexOf('^')], '+')
  const pair = caught(() => parsePattern(`+x${'a'.repeat(58)}\u{1f600}`)).message
  t.notMatch(pair, /\p{Surrogate}/u, 'a pair that the cut goes through')
})

t.test('an error cannot forge a line of a log', async t => {
  const { message } = caught(() => parsePattern('a\nb\r\x1b[31m\u0085\u2028+'))
  t.equal(message.split(/[\n\r\u0085\u2028]/).length, 3)
  t.notOk(message.includes('\x1b'))
})

function caught (run: () => unknown): Error & { code: string } {
  try {
    run()
  } catch (error) {
    return error as Error & { code: string }
  }
  throw new Error('nothing was thrown')
}
