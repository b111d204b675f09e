import t from 'tap'
import { connectRefusalName, quote, reasonName, varintLength, writeVarint } from '../../lib/wire/packet.ts'
import { unwelcomeCharacter } from '../../lib/topics/text.ts'

t.test('reason codes have their standard names', async t => {
  t.equal(reasonName(0x87), '0x87 Not authorized')
  t.equal(reasonName(0), '0x00 Success')
  t.equal(reasonName(0x10), '0x10 No matching subscribers')
  t.equal(reasonName(0xa2), '0xa2 Wildcard Subscriptions not supported')
  t.equal(reasonName(0x55), '0x55 unknown code')
  for (let code = 0x80; code <= 0xa2; code++) t.notMatch(reasonName(code), /unknown/, `0x${code.toString(16)} has a name`)
})

t.test('CONNACK return codes of 3.1.1 have names', async t => {
  t.equal(connectRefusalName(5), '0x05 Not authorized')
  t.equal(connectRefusalName(4), '0x04 Bad user name or password')
  t.equal(connectRefusalName(9), '0x09 unknown code')
})

t.test('variable byte integers at their borders', async t => {
  const table: Array<[number, number[]]> = [
    [0, [0]], [127, [0x7f]], [128, [0x80, 1]], [16_383, [0xff, 0x7f]], [16_384, [0x80, 0x80, 1]],
    [2_097_151, [0xff, 0xff, 0x7f]], [2_097_152, [0x80, 0x80, 0x80, 1]], [268_435_455, [0xff, 0xff, 0xff, 0x7f]]
  ]
  for (const [value, bytes] of table) {
    const target = Buffer.alloc(6)
    t.equal(varintLength(value), bytes.length)
    t.equal(writeVarint(target, 1, value), 1 + bytes.length)
    t.same([...target.subarray(1, 1 + bytes.length)], bytes)
  }
})

t.test('characters that a broker may hang up over', async t => {
  t.match(unwelcomeCharacter('a\0b'), /NUL/)
  t.match(unwelcomeCharacter('a\nb'), /control character U\+000A/)
  t.match(unwelcomeCharacter('\x7f'), /control character U\+007F/)
  t.match(unwelcomeCharacter('\x85'), /control character U\+0085/)
  t.match(unwelcomeCharacter('\ud800x'), /lone surrogate U\+D800/)
  t.match(unwelcomeCharacter('\udc00'), /lone surrogate/)
  t.match(unwelcomeCharacter('\uffff'), /noncharacter U\+FFFF/)
  t.match(unwelcomeCharacter('\u{1fffe}'), /noncharacter U\+1FFFE/)
  for (const fine of ['', 'a/b', 'ä', '\ufffd', '\ufeff', '😀', '\xa0']) t.equal(unwelcomeCharacter(fine), null)
})

t.test('text in an error is short and on one line', async t => {
  t.equal(quote('a\nb'), '"a\\nb"')
  t.ok(quote('x'.repeat(1000)).length < 80)
})
