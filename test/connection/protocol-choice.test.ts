import t from 'tap'
import { ProtocolChoice } from '../../lib/connection/protocol-choice.ts'

t.test('a version that is set stays', t => {
  const choice = new ProtocolChoice(4)
  t.equal(choice.refused(true), false)
  t.equal(choice.version, 4)
  t.end()
})

t.test('auto asks for 5, then 4, and remembers what worked', t => {
  const choice = new ProtocolChoice('auto')
  t.equal(choice.version, 5)
  t.equal(choice.refused(false), true, 'closed without CONNACK')
  t.equal(choice.version, 4)
  choice.succeeded()
  t.equal(choice.refused(false), false, 'a broker that spoke it is restarting')
  t.equal(choice.version, 4)
  t.equal(choice.refused(true), false, 'replaced by one that speaks 5 only: asked next time, not at once')
  t.equal(choice.version, 5)
  t.end()
})
