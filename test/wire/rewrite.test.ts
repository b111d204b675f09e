import fc from 'fast-check'
import t from 'tap'
import { MalformedPacket } from '../../lib/wire/malformed.ts'
import { readFrame, rewriteFrame, type FrameLayout } from '../../lib/wire/rewrite.ts'
import { generate, parse, publishCase, reference, type PublishCase } from './arbitraries.ts'

/** The packet somewhere in a larger buffer. */
function frameOf (wire: Buffer): { buffer: Buffer, start: number, end: number } {
  return { buffer: Buffer.concat([Buffer.alloc(5, 0xee), wire, Buffer.alloc(5, 0xee)]), start: 5, end: 5 + wire.length }
}

const versions = fc.constantFrom(3 as const, 4 as const, 5 as const)

t.test('rewriteFrame against mqtt-packet, every version to every other, with and without a prefix', async () => {
  fc.assert(fc.property(versions, versions, publishCase(5), fc.boolean(), fc.constantFrom('', 'pre/', 'prä/fix/'), (from, to, one, dup, prefix) => {
    const { properties, ...plain } = one
    const source: PublishCase = from === 5 ? one : { ...plain, properties: undefined }
    const kept: PublishCase = { ...source, topic: prefix + one.topic, properties: from === 5 && to === 5 ? properties : undefined }
    const extra = { dup: dup && one.qos > 0 }
    const frame = frameOf(generate(reference(source, extra), from))
    const before = Buffer.from(frame.buffer)
    const result = rewriteFrame(frame, { from, to, ...(prefix === '' ? {} : { prefix: Buffer.from(prefix) }) })
    const wire = result.buffer.subarray(result.start, result.end)
    return before.equals(frame.buffer) && wire.equals(generate(reference(kept, extra), to)) && parse(wire, to).length === 1
  }), { numRuns: 1000 })
})

t.test('a frame that is as it should be is given back', async t => {
  const frame = frameOf(generate({ cmd: 'publish', topic: 'a', payload: 'x', qos: 0, retain: false, dup: false }, 4))
  t.equal(rewriteFrame(frame, { from: 4, to: 3 }), frame)
  t.equal(rewriteFrame(frame, { from: 5, to: 5, prefix: Buffer.alloc(0) }), frame)
})

t.test('what gets too long, or was broken', async t => {
  const frame = frameOf(generate({ cmd: 'publish', topic: 'x'.repeat(65_530), payload: '', qos: 0, retain: false, dup: false }, 4))
  t.equal(parse(rewriteFrame(frame, { from: 4, to: 5, prefix: Buffer.from('1234/') }).buffer, 5).length, 1)
  t.throws(() => rewriteFrame(frame, { from: 4, to: 5, prefix: Buffer.from('12345/') }), { code: 'FST_MQTT_TOPIC' })
  const full = { buffer: Buffer.concat([Buffer.from([0x30, 0xff, 0xff, 0xff, 0x7f, 0, 1, 0x61]), Buffer.alloc(268_435_452)]), start: 0, end: 268_435_460 }
  t.throws(() => rewriteFrame(full, { from: 4, to: 5 }), { code: 'FST_MQTT_PAYLOAD' })
  for (const wire of [[0x30, 3, 0, 1, 0x61], [0x30, 5, 0, 1, 0x61, 2, 0], [0x30, 4, 0, 1, 0x61, 0x80]]) {
    t.throws(() => rewriteFrame({ buffer: Buffer.from([...wire, 0, 0, 0]), start: 0, end: wire.length }, { from: 5, to: 4 }), { name: 'MalformedPacket', reasonCode: 0x81 })
  }
})

t.test('readFrame walks what was encoded', async () => {
  fc.assert(fc.property(versions, fc.array(publishCase(5), { minLength: 1, maxLength: 4 }), (version, cases) => {
    const wires = cases.map(one => generate(reference(version === 5 ? one : { ...one, properties: undefined }), version))
    const buffer = Buffer.concat(wires)
    let start = 0
    return cases.every((one, i) => {
      const frame = readFrame(buffer, start, buffer.length)
      const fine = frame.end === start + wires[i]!.length && frame.qos === one.qos && frame.retain === one.retain &&
        buffer.toString('utf8', frame.topicStart, frame.topicEnd) === one.topic && frame.idAt === frame.topicEnd &&
        (one.qos === 0 || buffer.readUInt16BE(frame.idAt) === one.packetId)
      start = frame.end
      return fine
    }) && start === buffer.length
  }), { numRuns: 1000 })
})

t.test('readFrame refuses what would break the framing of what follows', async t => {
  const table: Array<[string, number[]]> = [
    ['nothing', []], ['one byte', [0x30]], ['another type', [0x40, 2, 0, 1]], ['QoS 3', [0x36, 5, 0, 1, 0x61, 0, 0]],
    ['DUP', [0x3a, 5, 0, 1, 0x61, 0, 0]], ['length cut off', [0x30, 0x80]], ['length of five bytes', [0x30, 0x80, 0x80, 0x80, 0x80, 0, 0, 0]],
    ['packet cut off', [0x30, 4, 0, 1, 0x61]], ['no topic length', [0x30, 1, 0]], ['empty', [0x30, 0]],
    ['topic past the packet', [0x30, 3, 0, 2, 0x61]], ['no packet id', [0x32, 3, 0, 1, 0x61]], ['half a packet id', [0x32, 4, 0, 1, 0x61, 0]]
  ]
  for (const [name, wire] of table) {
    const { buffer, start, end } = frameOf(Buffer.from(wire))
    t.throws(() => readFrame(buffer, start, end), { name: 'MalformedPacket' }, name)
    t.throws(() => readFrame(Buffer.from(wire), 0, wire.length), { name: 'MalformedPacket' }, name)
  }
  t.throws(() => readFrame(Buffer.from([0x30, 3, 0, 1, 0x61]), 0, 6), { name: 'MalformedPacket' }, 'a limit past the buffer')
})

t.test('readFrame on anything: a frame within the limit, or MalformedPacket', async () => {
  const wild = fc.uint8Array({ maxLength: 24 }).map(bytes => { bytes[0] = bytes[0]! & 0x0f | 0x30; return Buffer.from(bytes) })
  fc.assert(fc.property(wild, fc.nat(24), (buffer, limit) => {
    let frame: FrameLayout
    try { frame = readFrame(buffer, 0, limit) } catch (error) { return error instanceof MalformedPacket }
    return frame.end <= limit && limit <= buffer.length && frame.idAt + (frame.qos === 0 ? 0 : 2) <= frame.end &&
      frame.topicStart <= frame.topicEnd && frame.topicEnd <= frame.end
  }), { numRuns: 5000 })
})
