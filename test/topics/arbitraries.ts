import fc from 'fast-check'

/*
 * Few levels, so that patterns and topics meet.
 */

const literal = fc.constantFrom('a', 'b', '', '$x', '1', '-2', '1.5', 'on')
const wild = fc.constant('+')
const placeholder = fc.constantFrom(
  '<@>', '<int:@>', '<int(min=0):@>', '<float:@>', '<any(on,a):@>', '<any(b):@>', '<str(length=1):@>', '<str(minlength=2):@>'
)

function levels (level: fc.Arbitrary<string>, last: readonly string[]): fc.Arbitrary<string> {
  return fc.tuple(fc.array(level, { maxLength: 4 }), fc.option(fc.constantFrom(...last), { freq: 2 }))
    .map(([first, end]) => end === null ? first : [...first, end])
    .map(parts => parts.map((part, i) => part.replace('@', `n${i}`)).join('/'))
    .filter(text => text !== '')
}

/** MQTT filters. */
export const filter: fc.Arbitrary<string> = levels(fc.oneof(literal, wild), ['#'])

/** Patterns with wildcards and placeholders of all kinds. */
export const pattern: fc.Arbitrary<string> = levels(fc.oneof(literal, wild, placeholder), ['#', '<path:@>'])

/** Topic names. */
export const topic: fc.Arbitrary<string> = levels(literal, ['a', '-0', '007', 'x\u{1f600}'])

/** Text of which much is out of place in a topic. */
export const nastyText: fc.Arbitrary<string> = fc.oneof(
  fc.string({ unit: fc.constantFrom('/', '+', '#', '$', '\0', '\ud800', '\udc00', '-', '.', '0', '1', 'e', 'a', ' ', '\n', '<', '>'), maxLength: 8 }),
  fc.string({ unit: 'binary', maxLength: 20 }),
  fc.constantFrom('..', '../x', 'a/b', '$SYS', '$share/g/a', '#', '+', '__proto__', 'constructor', '', '٣', '1e3', 'NaN', '-0')
)

/** Anything that a program may hand over as a parameter. */
export const nastyValue: fc.Arbitrary<unknown> = fc.oneof(
  { weight: 4, arbitrary: nastyText },
  { weight: 3, arbitrary: fc.oneof(fc.double(), fc.integer(), fc.maxSafeInteger(), fc.constantFrom(-0, 1e21, 1e-7, 2 ** 53, NaN, Infinity)) },
  { weight: 1, arbitrary: fc.anything() },
  { weight: 1, arbitrary: fc.constantFrom(() => 'x', Symbol('x'), { toString: () => '../..' }, Object('a'), ['a'], 1n) }
)
