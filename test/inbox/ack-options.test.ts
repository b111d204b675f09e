import t from 'tap'
import { Gates } from '../faults/gates.ts'
import { liveApp } from '../faults/scripted-app.ts'
import { buildApp } from '../support/app.ts'
import { waitFor } from '../support/events.ts'

/* Acknowledgement: the route's `ack`, and the reason codes, on the wire and by inject. */

for (const version of [5, 4] as const) {
  t.test(`MQTT ${version}: one route on receipt and one when handled: when handled`, async t => {
    const gates = new Gates()
    const { app, broker } = await liveApp(t, {}, { protocolVersion: version }, app => {
      app.mqtt.topic('a', { qos: 1, ack: 'received' }, () => gates.wait('received'))
      app.mqtt.topic('a', { qos: 1 }, () => gates.wait('handled'))
    })
    broker.last.deliver({ topic: 'a', qos: 1, messageId: 1 })
    await gates.entered('received', 'handled')
    gates.open('received')
    await app.mqtt.publish('probe', '', { qos: 1 })
    t.strictSame(broker.last.of('puback'), [])
    gates.open('handled')
    await broker.last.until('puback')
  })

  t.test(`MQTT ${version}: what is told of each end`, async t => {
    const { broker } = await liveApp(t, {}, { protocolVersion: version }, app => {
      app.mqtt.setErrorHandler(() => {})
      app.mqtt.topic('good', { qos: 2 }, () => {})
      app.mqtt.topic('bad', { qos: 2 }, () => { throw new Error('no') })
      app.mqtt.topic('invalid', { qos: 2, parse: 'json', schema: { payload: { type: 'object' } } }, () => {})
      app.mqtt.topic('early', { qos: 2, ack: 'received' }, () => { throw new Error('no') })
    })
    const topics = ['good', 'bad', 'invalid', 'early']
    for (const [i, topic] of topics.entries()) {
      broker.last.deliver({ topic, qos: 1, messageId: 10 + i, payload: '{' }, { topic, qos: 2, messageId: 20 + i, payload: '{' })
    }
    await waitFor(() => broker.last.of('puback').length + broker.last.of('pubrec').length === 8, 'all acknowledgements')
    const expected = version === 5 ? [0, 0x83, 0x99, 0] : [0, 0, 0, 0]
    for (const cmd of ['puback', 'pubrec'] as const) t.strictSame(broker.last.of(cmd).map(({ reasonCode }) => reasonCode ?? 0), expected, cmd)
  })
}

t.test('inject tells the same', async t => {
  const { app } = await buildApp(t, { connect: false })
  app.mqtt.setErrorHandler(() => {})
  const fail = (): never => { throw new Error('no') }
  app.mqtt.topic('early', { ack: 'received' }, fail)
  app.mqtt.topic('mixed', { ack: 'received' }, fail)
  app.mqtt.topic('mixed', () => {})
  t.match(await app.mqtt.inject({ topic: 'early', qos: 1 }), { acked: true, reasonCode: 0, error: { message: 'no' } })
  t.match(await app.mqtt.inject({ topic: 'mixed', qos: 1 }), { acked: true, reasonCode: 0x83, error: { message: 'no' } })
  t.match(await app.mqtt.inject({ topic: 'mixed' }), { acked: false }, 'QoS 0 has no acknowledgement')
})
