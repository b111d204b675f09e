import fc from 'fast-check'
import t from 'tap'
import { loneSurrogate } from '../../lib/topics/text.ts'
import { topicNameError } from '../../lib/topics/topic.ts'
import { nastyText } from './arbitraries.ts'

t.test('topic names', async t => {
  for (const topic of ['a', '/', '//', '$SYS/x', ' ', 'a b/\u00e9/\u{1f600}', '<n>', 'x'.repeat(65_535), '\u20ac'.repeat(21_845), '\u{1f600}'.repeat(16_383)]) {
    t.equal(topicNameError(topic), null, topic.slice(0, 20))
  }
})

t.test('what is none, and why', async t => {
  for (const [topic, reason] of [
    ['', /empty/], ['+', /"\+"/], ['a/b#', /"#"/], ['a\0', /NUL/], ['\ud800', /lone surrogate/], ['\udc00\ud800', /lone surrogate/], ['\ud800\ud800\udc00', /lone surrogate/],
    ['x'.repeat(65_536), /65 535 bytes/], ['\u20ac'.repeat(21_846), /65 535 bytes/], ['\u00e9'.repeat(32_768), /65 535 bytes/], ['\u{1f600}'.repeat(16_384), /65 535 bytes/],
    ['+'.repeat(1_000_000), /65 535 bytes/]
  ] as const) t.match(topicNameError(topic), reason, topic.slice(0, 20))
})

t.test('the same as the platform says', async () => {
  fc.assert(fc.property(nastyText, text => {
    const wellFormed = isWellFormed(text)
    const fine = text !== '' && wellFormed && !/[+#\p{Cc}\p{Noncharacter_Code_Point}]/u.test(text)
    return (loneSurrogate(text) === -1) === wellFormed && (topicNameError(text) === null) === fine
  }), { numRuns: 5_000 })
  fc.assert(fc.property(fc.string({ unit: 'binary', minLength: 1, maxLength: 10 }), fc.integer({ min: 65_500, max: 65_540 }), (text, bytes) => {
    const clean = text.replace(/[+#\p{Cc}\p{Noncharacter_Code_Point}]/gu, 'x')
    const length = Buffer.byteLength(clean)
    const topic = clean.repeat(Math.ceil(bytes / length))
    return (topicNameError(topic) === null) === (Buffer.byteLength(topic) <= 65_535)
  }))
})

function isWellFormed (text: string): boolean {
  try {
    encodeURIComponent(text)
    return true
  } catch {
    return false
  }
}
