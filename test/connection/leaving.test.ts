import t from 'tap'
import { liveApp } from '../faults/scripted-app.ts'
import type { ScriptedConnection } from '../faults/scripted-broker.ts'
import { waitFor } from '../support/events.ts'

/*
 * MQTT 5: what the broker has sent before UNSUBSCRIBE reached it is a copy for a subscription that nobody has any more. The routes that
 * stay get copies of their own (contract section 3: each exactly once).
 */

/** The identifier that the SUBSCRIBE to this filter had. */
function idOf (connection: ScriptedConnection, filter: string): number {
  return connection.of('subscribe').find(({ subscriptions }) => subscriptions[0]!.topic === filter)!.properties!.subscriptionIdentifier as unknown as number
}

for (const qos of [1, 2] as const) {
  for (const answered of [false, true]) {
    for (const by of ['remove', 'unsubscribe'] as const) {
      t.test(`QoS ${qos}, ${by}, ${answered ? 'behind' : 'before'} UNSUBACK: a route that stays runs once`, async t => {
        const ran: string[] = []
        const { app, broker } = await liveApp(t, { onUnsubscribe: () => answered ? undefined : false }, {}, app => {
          app.mqtt.topic('r/<int:n>/x', { qos }, message => { ran.push(message.topic) })
        })
        const wide = by === 'remove' ? app.mqtt.topic('r/#', { qos }, () => {}) : undefined
        await (wide?.subscribed ?? app.mqtt.subscribe('r/#', { qos }))
        const [own, left] = [idOf(broker.last, 'r/+/x'), idOf(broker.last, 'r/#')]
        const gone = wide?.remove() ?? app.mqtt.unsubscribe('r/#')
        await (answered ? gone : broker.last.until('unsubscribe'))
        const copy = (messageId: number, id: number) => ({ topic: 'r/1/x', qos, messageId, properties: { subscriptionIdentifier: id } })
        broker.last.deliver(copy(1, left), copy(2, own))
        await waitFor(() => broker.last.of(qos === 1 ? 'puback' : 'pubrec').length === 2, 'the acknowledgements')
        t.strictSame(ran, ['r/1/x'])
        t.equal(app.mqtt.status().counters.unmatched, 0)
      })
    }
  }
}

t.test('where no route stays, the not-found handler gets it', async t => {
  const unmatched: string[] = []
  const { app, broker } = await liveApp(t, { onUnsubscribe: () => false }, {}, app => { app.mqtt.setNotFoundHandler(({ topic }) => { unmatched.push(topic) }) })
  const route = app.mqtt.topic('r/#', { qos: 1 }, () => {})
  await route.subscribed
  const id = idOf(broker.last, 'r/#')
  void route.remove()
  await broker.last.until('unsubscribe')
  broker.last.deliver({ topic: 'r/1', qos: 1, messageId: 1, properties: { subscriptionIdentifier: id } })
  await broker.last.until('puback')
  t.strictSame(unmatched, ['r/1'])
})
