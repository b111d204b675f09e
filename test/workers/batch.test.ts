import t from 'tap'
import { encodePublish, publishLength } from '../../lib/wire/encode.ts'
import type { PublishMessage } from '../../lib/bridge/protocol.ts'
import { Batch } from '../../workers/batch.ts'

const UNIT = 64 * 1024
const topic = Buffer.from([0, 1, 0x61])

function add (batch: Batch, length: number): void {
  const size = publishLength(topic.length, length, 1, 5, null)
  batch.add({ topic, payload: Buffer.alloc(length), payloadLength: length, qos: 1, retain: false, properties: null, size }, 5,
    { deadline: undefined, abortable: false, absolute: false })
}

/** What goes over of publishes of these sizes. */
function take (batch: Batch, lengths: number[], lend: boolean): PublishMessage {
  for (const length of lengths) add(batch, length)
  return batch.take({ prefix: '', version: 5 }, lend)
}

t.test('half full or more is lent, less is copied out, and before anybody has answered all of it', async t => {
  const batch = new Batch()
  t.match(take(batch, [40_000], true), { used: 40_010, buffer: { byteLength: UNIT } })
  for (const [length, lend] of [[30_000, true], [40_000, false]] as const) {
    const message = take(batch, [length], lend)
    t.equal(message.used, undefined)
    t.equal(message.buffer.byteLength, length + 10)
  }
})

t.test('a large publish that could not be lent leaves nothing behind: those after it are lent as ever', async t => {
  const batch = new Batch()
  t.equal(take(batch, [10_000_000], false).used, undefined)
  const { used, buffer } = take(batch, [15_000, 15_000, 15_000], true)
  t.equal(buffer.byteLength, UNIT)
  t.equal(used, 3 * 15_009)
})

t.test('what throws while it is encoded changes nothing', async t => {
  const batch = new Batch()
  add(batch, 10)
  t.throws(() => batch.add({ topic, payload: undefined as never, payloadLength: 5, qos: 0, retain: false, properties: null, size: 12 }, 5,
    { deadline: 1, abortable: true, absolute: true }))
  add(batch, 10)
  const size = publishLength(topic.length, 10, 1, 5, null)
  const alone = Buffer.alloc(size)
  encodePublish(alone, 0, topic, Buffer.alloc(10), 10, 1, false, 5, null)
  t.strictSame(take(batch, [], false), { type: 'publish', buffer: Uint8Array.from([...alone, ...alone]).buffer, prefix: '', version: 5, first: 0, count: 2 })
})
