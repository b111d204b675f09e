import fc from 'fast-check'
import t from 'tap'
import { encodePublish, publishLength } from '../../lib/wire/encode.ts'
import { Framer, type FramerLimits, type FrameSink } from '../../lib/wire/framer.ts'
import { brokerPacket, checkMutated, deliver, mutatedStreams, split } from './arbitraries.ts'

const wide: FramerLimits = { maxPublish: 1_048_576, maxControl: 65_536 }
const quiet: FrameSink = { onPacket () {}, onOversize () {} }
const publishA = [0x30, 4, 0, 1, 0x61, 0]

function collect (limits = wide): { framer: Framer, seen: string[] } {
  const seen: string[] = []
  const framer = new Framer({
    onPacket (buffer, start, bodyStart, end) { seen.push(`${buffer[start]! >> 4}:${end - bodyStart}`) },
    onOversize (_head, _bodyStart, remainingLength) { seen.push(`over:${remainingLength}`) }
  }, limits)
  return { framer, seen }
}

function publish (topic: string, size: number, qos: 0 | 1 = 0): Buffer {
  const name = Buffer.concat([Buffer.from([topic.length >> 8, topic.length & 255]), Buffer.from(topic)])
  const payload = Buffer.alloc(size, 'x')
  const target = Buffer.alloc(publishLength(name.length, size, qos, 4, null))
  encodePublish(target, 0, name, payload, size, qos, false, 4, null)
  if (qos === 1) target.writeUInt16BE(7, target.length - size - 2)
  return target
}

for (const version of [4, 5] as const) {
  t.test(`version ${version}: any sequence of packets, split anywhere, comes out whole`, async () => {
    fc.assert(fc.property(fc.array(brokerPacket(version), { maxLength: 6 }), fc.array(fc.nat(), { maxLength: 12 }), (packets, places) => {
      const { delivered, error } = deliver(split(Buffer.concat(packets), places), version, wide)
      return error === undefined && delivered.length === packets.length &&
        delivered.every((one, i) => 'packet' in one && one.packet.equals(packets[i]!))
    }), { numRuns: 1000 })
  })

  t.test(`version ${version}: P23, mutated packets give packets or MalformedPacket, and nothing after it`, async t => {
    const wrong: string[] = []
    let seed = 0
    for (const stream of mutatedStreams(20_261_121 + version, 20_000, version)) {
      seed++
      const what = checkMutated(stream, version)
      if (what !== null) wrong.push(`${seed}: ${what}: ${stream.wire.toString('hex')}`)
    }
    t.same(wrong, [])
  })

  t.test(`version ${version}: what a split stream gives does not depend on the split`, async () => {
    for (const { wire, chunks } of mutatedStreams(7 + version, 2000, version)) {
      const limits = { maxPublish: 100, maxControl: 40 }
      const whole = deliver([wire], version, limits)
      const pieces = deliver(chunks, version, limits)
      const bytes = deliver(split(wire, Array.from(wire, (_, i) => i)), version, limits)
      for (const other of [pieces, bytes]) {
        if (fc.stringify(other.delivered) !== fc.stringify(whole.delivered) || String(other.error) !== String(whole.error)) {
          throw new Error(`differs: ${wire.toString('hex')}: ${String(whole.error)} / ${String(other.error)}`)
        }
      }
    }
  })
}

t.test('packets are views of the chunk, and the rest is collected in memory of its size', async t => {
  const buffers: Buffer[] = []
  const framer = new Framer({ ...quiet, onPacket (buffer) { buffers.push(buffer) } }, wide)
  const chunk = Buffer.from([...publishA, ...publishA, 0x30, 4, 0])
  framer.push(chunk)
  framer.push(Buffer.from([1, 0x61, 0, ...publishA]))
  t.equal(buffers[0], chunk)
  t.equal(buffers[1], chunk)
  t.equal(buffers[2]!.length, 6)
  t.equal(buffers[2]!.buffer.byteLength, 6)
  t.same([...buffers[2]!], publishA)
  t.equal(buffers.length, 4)
})

t.test('collecting is linear: a packet of 1 MiB byte by byte', async t => {
  const { framer, seen } = collect()
  const wire = publish('a/b', 1_000_000)
  const start = performance.now()
  for (let i = 0; i < wire.length; i++) framer.push(wire.subarray(i, i + 1))
  t.same(seen, ['3:1000005'])
  t.ok(performance.now() - start < 5000)
})

t.test('a header is refused as soon as it is known', async t => {
  const table: Array<[string, number[], number]> = [
    ['type 0', [0], 0x81], ['PUBREL without its flag', [0x60], 0x81], ['PUBACK with a flag', [0x42], 0x81], ['SUBACK with a flag', [0x91], 0x81],
    ['CONNACK with a flag', [0x21], 0x81], ['PINGRESP with a flag', [0xd8], 0x81], ['QoS 3', [0x36], 0x81], ['DUP with QoS 0', [0x38], 0x81],
    ['length of five bytes', [0x30, 0x80, 0x80, 0x80, 0x80], 0x81], ['control packet over the limit', [0x90, 0x81, 0x80, 0x04], 0x95],
    ['huge control packet', [0x20, 0xff, 0xff, 0xff, 0x7f], 0x95]
  ]
  for (const [name, wire, reasonCode] of table) {
    for (const chunks of [[Buffer.from(wire)], wire.map(byte => Buffer.from([byte])), [Buffer.from([...publishA, ...wire])]]) {
      const { framer, seen } = collect()
      for (const chunk of chunks.slice(0, -1)) framer.push(chunk)
      t.throws(() => framer.push(chunks.at(-1)!), { name: 'MalformedPacket', reasonCode }, name)
      const before = seen.length
      framer.push(Buffer.from(publishA))
      t.equal(seen.length, before, 'nothing is delivered any more')
    }
  }
})

t.test('every first byte that the specification has', async t => {
  const allowed = [0x10, 0x20, 0x40, 0x50, 0x62, 0x70, 0x82, 0x90, 0xa2, 0xb0, 0xc0, 0xd0, 0xe0, 0xf0,
    0x30, 0x31, 0x32, 0x33, 0x34, 0x35, 0x3a, 0x3b, 0x3c, 0x3d]
  for (let first = 0; first < 256; first++) {
    const { framer, seen } = collect()
    if (allowed.includes(first)) {
      framer.push(Buffer.from([first, 0]))
      t.same(seen, [`${first >> 4}:0`])
    } else t.throws(() => framer.push(Buffer.from([first, 0])), { name: 'MalformedPacket' })
  }
})

t.test('a PUBLISH that is too large is skipped, at any split', async t => {
  const big = publish('big/topic', 5000, 1)
  const wire = Buffer.concat([publish('a', 10), big, publish('b', 10), big, publish('c', 10)])
  const headLength = 1 + 2 + 2 + 9 + 2
  fc.assert(fc.property(fc.array(fc.nat(), { maxLength: 20 }), places => {
    const { delivered, error } = deliver(split(wire, places), 4, { maxPublish: 100, maxControl: 100 })
    const heads = delivered.filter(one => 'head' in one)
    return error === undefined && delivered.length === 5 && heads.length === 2 &&
      heads.every(one => one.length === big.length && one.head.equals(big.subarray(0, headLength)))
  }), { numRuns: 500 })
  for (let cut = 0; cut < 60; cut++) {
    const { delivered } = deliver([wire.subarray(0, cut), wire.subarray(cut)], 4, { maxPublish: 100, maxControl: 100 })
    t.equal(delivered.length, 5)
  }
})

t.test('nothing of it but the head is kept', async t => {
  const heads: Array<[Buffer, number, number]> = []
  const framer = new Framer({ ...quiet, onOversize (...args) { heads.push(args) } }, { maxPublish: 100, maxControl: 100 })
  framer.push(Buffer.from([0x34, 0xff, 0xff, 0xff]))
  framer.push(Buffer.from([0x7f, 0]))
  framer.push(Buffer.from([3, 0x61, 0x2f]))
  t.equal(heads.length, 0)
  framer.push(Buffer.from([0x62, 0x80]))
  framer.push(Buffer.from([1, 0xee, 0xee]))
  t.equal(heads.length, 1)
  const [head, bodyStart, remainingLength] = heads[0]!
  t.same([...head], [0x34, 0xff, 0xff, 0xff, 0x7f, 0, 3, 0x61, 0x2f, 0x62, 0x80, 1])
  t.equal(bodyStart, 5)
  t.equal(remainingLength, 268_435_455)
  for (let i = 0; i < 5; i++) framer.push(Buffer.alloc(65_536))
  t.equal(heads.length, 1)
})

t.test('one whose head does not fit into it is malformed', async t => {
  for (const wire of [[0x30, 5, 0, 4], [0x32, 5, 0, 2], [0x30, 1], [0x32, 3], [0x30, 0xff, 0xff, 3, 0xff, 0xff]]) {
    const { framer } = collect({ maxPublish: 0, maxControl: 0 })
    t.throws(() => framer.push(Buffer.from(wire)), { name: 'MalformedPacket', reasonCode: 0x81 })
  }
})

t.test('the largest that fits is let in', async t => {
  const { framer, seen } = collect({ maxPublish: 13, maxControl: 2 })
  framer.push(Buffer.concat([publish('a', 10), publish('a', 11), Buffer.from([0x40, 2, 0, 1])]))
  t.same(seen, ['3:13', 'over:14', '4:2'])
})

t.test('stop() ends delivery at once, from any callback', async t => {
  const wire = Buffer.concat([Buffer.from(publishA), publish('a', 200), Buffer.from(publishA)])
  for (const when of [1, 2]) {
    for (const places of [[], [3], [6, 9, 12], Array.from(wire, (_, i) => i)]) {
      let calls = 0
      const act = (): void => { if (++calls === when) framer.stop() }
      const framer = new Framer({ onPacket: act, onOversize: act }, { maxPublish: 100, maxControl: 100 })
      for (const chunk of split(wire, places)) framer.push(chunk)
      t.equal(calls, when)
    }
  }
  const { framer, seen } = collect()
  framer.stop()
  framer.push(wire)
  t.same(seen, [])
})

t.test('what the sink throws comes out, and ends the delivery', async t => {
  const failure = new Error('sink')
  let calls = 0
  const framer = new Framer({ ...quiet, onPacket () { calls++; throw failure } }, wide)
  t.throws(() => framer.push(Buffer.from([...publishA, ...publishA])), failure)
  framer.push(Buffer.from(publishA))
  t.equal(calls, 1)
})

t.test('a chunk that arrives during delivery waits for its turn', async t => {
  const seen: number[] = []
  const framer: Framer = new Framer({
    ...quiet,
    onPacket (buffer, start) {
      seen.push(buffer[start + 5]!)
      if (buffer[start + 5] === 1) {
        framer.push(Buffer.from([0x30, 4, 0, 1, 0x61, 3, 0x30, 4, 0]))
        framer.push(Buffer.from([1, 0x61, 4]))
        t.same(seen, [1])
      }
      if (buffer[start + 5] === 3) framer.push(Buffer.from([0x30, 4, 0, 1, 0x61, 5]))
    }
  }, wide)
  framer.push(Buffer.from([0x30, 4, 0, 1, 0x61, 1, 0x30, 4, 0, 1, 0x61, 2]))
  t.same(seen, [1, 2, 3, 4, 5])
  framer.push(Buffer.alloc(0))
})
