import t from 'tap'
import { Cursor, decodeText } from '../../lib/wire/cursor.ts'

t.test('reads one after the other, and not past the end', async t => {
  const cursor = new Cursor(Buffer.from([9, 7, 0x12, 0x34, 0x80, 1, 0, 1, 0x61, 0, 2, 5, 6, 9]), 1, 13)
  t.equal(cursor.byte(), 7)
  t.equal(cursor.uint16(), 0x1234)
  t.equal(cursor.varint(), 128)
  t.equal(cursor.string(), 'a')
  t.same(cursor.binary(), Buffer.from([5, 6]))
  t.equal(cursor.at, 13)
  t.throws(() => cursor.byte(), { name: 'MalformedPacket' })
  t.throws(() => cursor.uint16(), { name: 'MalformedPacket' })
  t.equal(cursor.at, 13)
})

t.test('strings are UTF-8 without NUL', async t => {
  for (const text of ['', 'a', 'ä', '\ufffd', '\ufeff', '😀']) {
    const bytes = Buffer.from(text)
    t.equal(decodeText(bytes, 0, bytes.length), text)
  }
  for (const bytes of [[0], [0xff], [0xc0, 0x80], [0xed, 0xa0, 0x80], [0xef, 0xbf, 0xbd, 0xc3], [0xf4, 0x90, 0x80, 0x80]]) {
    t.throws(() => decodeText(Buffer.from(bytes), 0, bytes.length), { name: 'MalformedPacket', reasonCode: 0x81 })
  }
})
