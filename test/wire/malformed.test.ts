import t from 'tap'
import { MalformedPacket, MalformedReason } from '../../lib/wire/malformed.ts'

t.test('says what is wrong, with the reason code and its name', async t => {
  const error = new MalformedPacket('PUBLISH with QoS 3')
  t.type(error, Error)
  t.equal(error.name, 'MalformedPacket')
  t.equal(error.reasonCode, 0x81)
  t.equal(error.message, 'PUBLISH with QoS 3 (0x81 Malformed Packet)')
  t.equal(new MalformedPacket('x', MalformedReason.TOO_LARGE).reasonCode, 0x95)
})
