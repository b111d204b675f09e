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

t.test('auto gives up what worked when it is closed on again and again', t => {
  const choice = new ProtocolChoice('auto')
  for (let outage = 0; outage < 3; outage++) {
    choice.succeeded()
    for (let n = 1; n < 5; n++) t.equal(choice.refused(false), false)
    t.equal(choice.version, 5, 'four in a row may be a restart')
  }
  t.equal(choice.refused(false), true, 'the fifth is none')
  t.equal(choice.version, 4)
  t.equal(choice.refused(false), false, 'nobody speaks either')
  t.equal(choice.version, 5)
  t.equal(choice.refused(false), true)
  t.equal(choice.version, 4)
  t.end()
})
