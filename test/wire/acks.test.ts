import fc from 'fast-check'
import t from 'tap'
import { ackId, ackReasonCode, encodeAck, MAX_ACK_LENGTH } from '../../lib/wire/acks.ts'
import { PacketType } from '../../lib/wire/packet.ts'
import { generate } from './arbitraries.ts'

const types = [PacketType.PUBACK, PacketType.PUBREC, PacketType.PUBREL, PacketType.PUBCOMP] as const
const commands = ['puback', 'pubrec', 'pubrel', 'pubcomp'] as const
const reasons = [[0, 0x10, 0x80, 0x87, 0x99], [0, 0x10, 0x97], [0, 0x92], [0, 0x92]] as const

for (const version of [3, 4, 5] as const) {
  t.test(`version ${version}: as mqtt-packet writes and reads them`, async () => {
    fc.assert(fc.property(fc.integer({ min: 1, max: 65_535 }), fc.nat(3), fc.nat(4), fc.option(fc.string({ minLength: 1, maxLength: 300 })), (id, index, pick, reasonString) => {
      const reasonCode = reasons[index]![pick % reasons[index]!.length]!
      const target = Buffer.alloc(10, 0xee)
      const end = encodeAck(target, 2, types[index]!, id, reasonCode, version)
      const packet = { cmd: commands[index]!, messageId: id, reasonCode }
      const own = target.subarray(2, end)
      const expected = generate(packet, version)
      const code = version === 5 ? reasonCode : 0
      // mqtt-packet writes the reason code and an empty property block always on 5; both may be left out (section 3.4.2.1).
      if (version < 5 && !own.equals(expected)) return false
      if (own.length > MAX_ACK_LENGTH || own.length !== (code === 0 ? 4 : 5) || own[0] !== expected[0]) return false
      const wire = reasonString === null || version < 5 ? expected : generate({ ...packet, properties: { reasonString } } as never, 5)
      const bodyStart = wire[1]! > 127 ? 3 : 2
      return ackId(wire, bodyStart, wire.length, version) === id && ackReasonCode(wire, bodyStart, wire.length) === code &&
        ackId(own, 2, own.length, version) === id && ackReasonCode(own, 2, own.length) === code
    }), { numRuns: 1000 })
  })
}

t.test('reasons are left out where there are none', async t => {
  const target = Buffer.alloc(5)
  t.equal(encodeAck(target, 0, PacketType.PUBREL, 0x8001, 0, 5), 4)
  t.same([...target.subarray(0, 4)], [0x62, 2, 0x80, 1])
  t.equal(encodeAck(target, 0, PacketType.PUBACK, 1, 0x83, 4), 4)
  t.equal(encodeAck(target, 0, PacketType.PUBACK, 1, 0x83, 5), 5)
  t.same([...target], [0x40, 3, 0, 1, 0x83])
})

t.test('broken ones', async t => {
  t.throws(() => ackId(Buffer.from([0, 0]), 0, 2, 5), { name: 'MalformedPacket', reasonCode: 0x82 })
  t.throws(() => ackId(Buffer.from([1]), 0, 1, 5), { name: 'MalformedPacket', reasonCode: 0x81 })
  t.throws(() => ackId(Buffer.from([]), 0, 0, 5), { name: 'MalformedPacket', reasonCode: 0x81 })
  const table: Array<[string, number[], 4 | 5]> = [
    ['too short', [1], 5], ['empty', [], 4], ['empty on 5', [], 5], ['reason on 3.1.1', [0, 1, 0], 4], ['properties shorter than the packet', [0, 1, 0, 0, 0], 5],
    ['properties longer than the packet', [0, 1, 0, 1], 5], ['half a property length', [0, 1, 0, 0x80], 5],
    ['property length of five bytes', [0, 1, 0, 0x80, 0x80, 0x80, 0x80, 0], 5]
  ]
  for (const [name, body, version] of table) {
    const buffer = Buffer.from([9, ...body, 9, 9, 9])
    t.throws(() => ackId(buffer, 1, 1 + body.length, version), { name: 'MalformedPacket', reasonCode: 0x81 }, name)
  }
  for (const body of [[0, 1, 0x87], [0, 1, 0x87, 0], [0, 1, 0x87, 2, 9, 9]]) {
    t.equal(ackId(Buffer.from(body), 0, body.length, 5), 1, 'what the properties hold is not looked at')
    t.equal(ackReasonCode(Buffer.from(body), 0, body.length), 0x87)
  }
})
