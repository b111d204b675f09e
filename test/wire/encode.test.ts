import fc from 'fast-check'
import t from 'tap'
import {
  encodePublish, packetIdOffset, payloadLength, publishLength, setDup, setPacketId, Slab, type Frame
} from '../../lib/wire/encode.ts'
import type { ProtocolVersion, QoS } from '../../lib/wire/packet.ts'
import { toPayload } from '../../lib/wire/payload.ts'
import { encodeProperties } from '../../lib/wire/properties.ts'
import { TopicCache } from '../../lib/wire/topic-cache.ts'
import { generate, parse, publishCase, reference, type PublishCase } from './arbitraries.ts'

const topics = new TopicCache('')

function encode (slab: Slab, one: Pick<PublishCase, 'topic' | 'qos' | 'retain' | 'properties'> & { payload: unknown }, version: ProtocolVersion): Frame {
  const topic = topics.encode(one.topic, true)
  const payload = toPayload(one.payload)
  const length = payloadLength(payload)
  const properties = encodeProperties(one.properties)
  const size = publishLength(topic.length, length, one.qos, version, properties)
  const start = slab.reserve(size)
  const { buffer } = slab
  const end = encodePublish(buffer, start, topic, payload, length, one.qos, one.retain, version, properties)
  if (end !== start + size) throw new Error('publishLength and encodePublish differ')
  return { buffer, start, end }
}

for (const version of [3, 4, 5] as const) {
  t.test(`version ${version}: mqtt-packet reads what was published`, async () => {
    const slab = new Slab()
    fc.assert(fc.property(fc.array(publishCase(version), { minLength: 1, maxLength: 5 }), fc.boolean(), (cases, dup) => {
      const frames = cases.map(one => {
        const frame = encode(slab, one, version)
        if (one.qos > 0) {
          setPacketId(frame.buffer, frame.start, one.packetId)
          if (dup) setDup(frame.buffer, frame.start)
        }
        return frame
      })
      const wire = Buffer.concat(frames.map(({ buffer, start, end }) => buffer.subarray(start, end)))
      // The order of properties is free, so that both sides are read.
      const expected = Buffer.concat(cases.map(one => generate(reference(one, { dup: dup && one.qos > 0 }), version)))
      return wire.length === expected.length && fc.stringify(parse(wire, version)) === fc.stringify(parse(expected, version)) &&
        (version === 5 || wire.equals(expected))
    }), { numRuns: 1000 })
  })
}

t.test('every length around the borders of loops and lengths', async t => {
  const slab = new Slab()
  for (const size of [0, 1, 47, 48, 49, 100, 121, 122, 123, 16_370, 16_376, 16_377, 16_384, 70_000, 2_097_144, 2_097_152]) {
    for (const payload of [Buffer.alloc(size, 'x'), 'x'.repeat(size), 'ä'.repeat(size)]) {
      for (const qos of [0, 1] as const) {
        const { buffer, start, end } = encode(slab, { topic: 'a/b', payload, qos, retain: false, properties: undefined }, 5)
        setPacketId(buffer, start, qos === 0 ? 0 : 0xfffe)
        const expected = generate({ cmd: 'publish', topic: 'a/b', payload, qos, retain: false, dup: false, messageId: 0xfffe }, 5)
        if (qos === 1) t.ok(buffer.subarray(start, end).equals(expected), `${size} ${typeof payload}`)
        else t.equal(end - start, expected.length)
      }
    }
  }
  for (const length of [1, 44, 45, 46, 47, 48, 49, 500, 65_535]) {
    const topic = 'x'.repeat(length)
    const { buffer, start, end } = encode(slab, { topic, payload: 'p', qos: 0, retain: true, properties: undefined }, 4)
    t.ok(buffer.subarray(start, end).equals(generate({ cmd: 'publish', topic, payload: 'p', qos: 0, retain: true, dup: false }, 4)), `topic of ${length}`)
  }
})

t.test('a lone surrogate in a payload is U+FFFD, and takes the room that was counted', async t => {
  const slab = new Slab()
  for (const payload of ['\ud800', 'a\udc00b', 'x'.repeat(60) + '\ud83d', '\ud83d'.repeat(30)]) {
    const { buffer, start, end } = encode(slab, { topic: 'a', payload, qos: 0, retain: false, properties: undefined }, 4)
    const [packet] = parse(buffer.subarray(start, end), 4) as Array<{ payload: Buffer }>
    t.same(packet!.payload, Buffer.from(payload))
  }
})

t.test('the packet id is 0 until it is set, and found behind any header', async t => {
  const slab = new Slab()
  for (const size of [0, 200, 20_000, 2_200_000]) {
    const { buffer, start, end } = encode(slab, { topic: 'a/b', payload: Buffer.alloc(size, 0xff), qos: 2, retain: true, properties: { contentType: 'x' } }, 5)
    const at = packetIdOffset(buffer, start)
    t.equal(buffer.readUInt16BE(at), 0)
    setPacketId(buffer, start, 0x8001)
    setDup(buffer, start)
    t.match(parse(buffer.subarray(start, end), 5), [{ messageId: 0x8001, dup: true, qos: 2, retain: true, topic: 'a/b' }])
  }
})

t.test('P24: exactly the bytes of the caller\'s view, whatever lies around them', async () => {
  const slab = new Slab()
  fc.assert(fc.property(fc.nat(400), fc.nat(400), fc.nat(100), fc.boolean(), (length, before, after, shared) => {
    const memory = shared ? new SharedArrayBuffer(before + length + after) : new ArrayBuffer(before + length + after)
    new Uint8Array(memory).fill(0xee)
    const view = new Uint8Array(memory, before, length).fill(0x11)
    const { buffer, start, end } = encode(slab, { topic: 't', payload: view, qos: 0, retain: false, properties: undefined }, 4)
    view.fill(0x99)
    const expected = generate({ cmd: 'publish', topic: 't', payload: Buffer.alloc(length, 0x11), qos: 0, retain: false, dup: false }, 4)
    return view.length === length && memory.byteLength === before + length + after && buffer.subarray(start, end).equals(expected)
  }), { numRuns: 500 })
})

t.test('a payload that lies about its length does not become a frame', async t => {
  const topic = topics.encode('t', true)
  const target = Buffer.alloc(1000)
  class Liar extends Uint8Array {
    override get length (): number { return 300 }
  }
  const encodeWith = (payload: string | Uint8Array, length: number): number => encodePublish(target, 0, topic, payload, length, 0, false, 4, null)
  t.throws(() => encodeWith(new Liar(100), 300), { code: 'FST_MQTT_PAYLOAD' })
  t.throws(() => encodeWith(new Uint8Array(100), 300), { code: 'FST_MQTT_PAYLOAD' })
  t.throws(() => encodeWith(new Uint8Array(300), 100), { code: 'FST_MQTT_PAYLOAD' })
  t.throws(() => encodeWith('short', 300), { code: 'FST_MQTT_PAYLOAD' })
  t.throws(() => encodeWith('ä'.repeat(10), 19), { code: 'FST_MQTT_PAYLOAD' })
  t.throws(() => encodeWith(new Uint8Array(2000), 2000), RangeError)
})

t.test('a payload is as long as the engine says', async t => {
  class Liar extends Uint8Array {
    override get length (): number { return claimed }
  }
  let claimed = 10
  const liar = new Liar(10)
  for (claimed of [-5, -1, 0.5, 3, 300, NaN]) t.equal(payloadLength(liar), 10, String(claimed))
})

t.test('what MQTT cannot say is refused before it is built', async t => {
  t.equal(publishLength(10, 268_435_445, 0, 4, null), 268_435_460)
  t.throws(() => publishLength(10, 268_435_446, 0, 4, null), { code: 'FST_MQTT_PAYLOAD' })
  t.throws(() => publishLength(10, 268_435_445, 1, 4, null), { code: 'FST_MQTT_PAYLOAD' })
  t.throws(() => publishLength(10, 268_435_445, 0, 5, null), { code: 'FST_MQTT_PAYLOAD' })
  t.throws(() => publishLength(10, NaN, 0, 5, null), { code: 'FST_MQTT_PAYLOAD' })
  t.equal(publishLength(10, 5, 0 as QoS, 4, encodeProperties({ contentType: 'x' })), 17, 'no properties before MQTT 5')
})

t.test('frames that are encoded one after the other are adjacent', async t => {
  const slab = new Slab()
  const frames = Array.from({ length: 500 }, (_, i) => {
    const start = slab.reserve(200 + i % 50)
    return { buffer: slab.buffer, start, end: start + 200 + i % 50 }
  })
  let runs = 1
  for (let i = 1; i < frames.length; i++) {
    const [last, next] = [frames[i - 1]!, frames[i]!]
    if (next.buffer !== last.buffer) runs++
    else t.equal(next.start, last.end)
  }
  t.equal(runs, 2)
  const { buffer } = slab
  t.equal(slab.reserve(40_000), 0)
  t.equal(slab.buffer.length, 40_000, 'a large frame has memory of its own')
  const start = slab.reserve(10)
  t.equal(slab.buffer, buffer, 'and the chunk goes on behind it')
  t.equal(start, frames.at(-1)!.end)
})
