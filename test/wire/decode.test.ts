import fc from 'fast-check'
import t from 'tap'
import { decodePublish, type Publish } from '../../lib/wire/decode.ts'
import { MalformedPacket } from '../../lib/wire/malformed.ts'
import type { ProtocolVersion } from '../../lib/wire/packet.ts'
import { generate, parse, publishCase, reference } from './arbitraries.ts'

function decode (wire: Buffer | number[], version: ProtocolVersion): Publish {
  const around = Buffer.concat([Buffer.alloc(3, 0xee), Buffer.from(wire), Buffer.alloc(3, 0xee)])
  let bodyStart = 4
  while (around[bodyStart++]! > 127);
  return decodePublish(around, 3, bodyStart, around.length - 3, version)
}

for (const version of [3, 4, 5] as const) {
  t.test(`version ${version}: reads what mqtt-packet writes, as mqtt-packet does`, async () => {
    fc.assert(fc.property(publishCase(version), fc.boolean(), (one, dup) => {
      const wire = generate(reference(one, { dup: dup && one.qos > 0 }), version)
      const publish = decode(wire, version)
      const [expected] = parse(wire, version) as unknown as Array<Record<string, unknown>>
      const payload = Buffer.from(one.payload)
      const properties = expected!.properties as Record<string, unknown> | undefined
      return publish.topic === one.topic && publish.payload.equals(payload) && publish.qos === one.qos && publish.retain === one.retain &&
        publish.dup === (dup && one.qos > 0) && publish.packetId === (one.qos > 0 ? one.packetId : 0) &&
        sorted(publish.properties) === sorted(properties) && publish.subscriptionIds === undefined
    }), { numRuns: 1000 })
  })
}

function sorted (properties: object | undefined): string {
  return fc.stringify(Object.entries(properties ?? {}).sort(([a], [b]) => a < b ? -1 : 1))
}

t.test('subscription identifiers, alone and not', async t => {
  t.same(decode([0x30, 6, 0, 1, 0x61, 2, 0x0b, 7], 5).subscriptionIds, [7])
  t.same(decode([0x30, 6, 0, 1, 0x61, 2, 0x0b, 127], 5).subscriptionIds, [127])
  t.same(decode([0x30, 7, 0, 1, 0x61, 3, 0x0b, 0x80, 1], 5).subscriptionIds, [128])
  t.same(decode([0x30, 8, 0, 1, 0x61, 4, 0x0b, 7, 0x0b, 9], 5).subscriptionIds, [7, 9])
  const both = decode([0x30, 9, 0, 1, 0x61, 4, 0x0b, 7, 1, 1, 0x70], 5)
  t.same(both.subscriptionIds, [7])
  t.same(both.properties, { payloadFormatIndicator: true })
  t.same(both.payload, Buffer.from('p'))
})

t.test('the payload is a view, and all instances have one shape', async t => {
  const wire = Buffer.from([0x30, 4, 0, 1, 0x61, 0x70])
  const publish = decodePublish(wire, 0, 2, 6, 4)
  t.equal(publish.payload.buffer, wire.buffer)
  t.same(Object.keys(publish), Object.keys(decode([0x32, 9, 0, 1, 0x61, 0, 5, 2, 1, 0, 0x70], 5)))
})

t.test('topics of every width', async t => {
  for (const topic of ['a', '/', '$SYS/x', 'ä', '日本/温度', '😀', '\ufffd', 'x\ufffdy', '\ufeffbom', ',/-'.repeat(30), 'x'.repeat(65_535)]) {
    t.equal(decode(generate({ cmd: 'publish', topic, payload: '', qos: 0, retain: false, dup: false }, 4), 4).topic, topic)
  }
})

t.test('what the specification forbids', async t => {
  const table: Array<[string, number[], ProtocolVersion, number]> = [
    ['QoS 3', [0x36, 6, 0, 1, 0x61, 0, 1, 0], 4, 0x81],
    ['DUP with QoS 0', [0x38, 3, 0, 1, 0x61], 4, 0x81],
    ['packet id 0', [0x32, 5, 0, 1, 0x61, 0, 0], 4, 0x82],
    ['no topic', [0x30, 2, 0, 0], 4, 0x82],
    ['no topic on 5', [0x30, 3, 0, 0, 0], 5, 0x82],
    ['topic alias instead of a topic', [0x30, 6, 0, 0, 3, 0x23, 0, 1], 5, 0x94],
    ['topic alias', [0x30, 7, 0, 1, 0x61, 3, 0x23, 0, 1], 5, 0x94],
    ['+', [0x30, 3, 0, 1, 0x2b], 4, 0x90],
    ['#', [0x30, 4, 0, 2, 0x61, 0x23], 4, 0x90],
    ['NUL', [0x30, 4, 0, 2, 0x61, 0], 4, 0x90],
    ['not UTF-8', [0x30, 3, 0, 1, 0xff], 4, 0x81],
    ['overlong', [0x30, 4, 0, 2, 0xc0, 0xaf], 4, 0x81],
    ['surrogate', [0x30, 5, 0, 3, 0xed, 0xa0, 0x80], 4, 0x81],
    ['U+FFFD and not UTF-8', [0x30, 6, 0, 4, 0xef, 0xbf, 0xbd, 0xff], 4, 0x81],
    ['nothing', [0x30, 0], 4, 0x81],
    ['half a length', [0x30, 1, 0], 4, 0x81],
    ['topic cut off', [0x30, 3, 0, 2, 0x61], 4, 0x81],
    ['no packet id', [0x32, 3, 0, 1, 0x61], 4, 0x81],
    ['half a packet id', [0x32, 4, 0, 1, 0x61, 1], 4, 0x81],
    ['no property length', [0x30, 3, 0, 1, 0x61], 5, 0x81],
    ['half a property length', [0x30, 4, 0, 1, 0x61, 0x80], 5, 0x81],
    ['property length of five bytes', [0x30, 8, 0, 1, 0x61, 0x80, 0x80, 0x80, 0x80, 0], 5, 0x81],
    ['properties past the packet', [0x30, 5, 0, 1, 0x61, 2, 0x0b], 5, 0x81],
    ['subscription identifier 0', [0x30, 6, 0, 1, 0x61, 2, 0x0b, 0], 5, 0x82],
    ['subscription identifier cut off', [0x30, 6, 0, 1, 0x61, 2, 0x0b, 0x80], 5, 0x81]
  ]
  for (const [name, wire, version, reasonCode] of table) {
    const error = t.throws(() => decode(wire, version), { name: 'MalformedPacket', reasonCode }, name)
    t.ok(error instanceof MalformedPacket)
  }
})
