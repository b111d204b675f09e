import t from 'tap'
import { SubscriptionIds } from '../../lib/connection/subscription-ids.ts'
import { liveApp, scriptedApp } from '../faults/scripted-app.ts'
import { waitFor } from '../support/events.ts'

/* A filter that the broker hangs up on is left alone for a while. What the application wants meanwhile, it gets. */

/** Longer than any test. */
const reconnect = { min: 1, max: 600_000 }

for (const protocolVersion of [5, 4] as const) {
  for (const permitted of [true, false]) {
    t.test(`MQTT ${protocolVersion}: wanted at a higher QoS it is asked for again, and ${permitted ? 'granted' : 'hung up on'}`, async t => {
      let wide = false
      const { app, broker } = await liveApp(t, {
        onSubscribe: ({ subscriptions: [asked] }, connection) => {
          if (asked!.topic !== 'a/#' || wide) return undefined
          connection.drop()
          return false
        }
      }, { protocolVersion, reconnect }, app => { app.mqtt.topic('a/b', () => {}) })
      await t.rejects(app.mqtt.topic('a/#', () => {}).subscribed, { code: 'FST_MQTT_SUBSCRIBE_REFUSED' })
      await waitFor(() => app.mqtt.subscriptions.some(({ filter, status }) => filter === 'a/b' && status === 'active'), 'its neighbour')
      wide = permitted
      const again = app.mqtt.topic('a/#', { qos: 1 }, () => {})
      if (permitted) {
        t.match(await again.subscribed, { qos: 1 })
        // The next connection is to ask for it, too.
        const before = broker.connections.length
        broker.last.drop()
        await broker.connection(before)
      } else await t.rejects(again.subscribed, { code: 'FST_MQTT_SUBSCRIBE_REFUSED' })
      const status = permitted ? 'active' : 'refused'
      await waitFor(() => app.mqtt.subscriptions.every(it => it.status === (it.filter === 'a/#' ? status : 'active')), `"a/#" to be ${status}, and its neighbour active`)
    })
  }
}

t.test('MQTT 5: no copy for it is waited for', async t => {
  const ids = new SubscriptionIds()
  const { app, broker } = await scriptedApp(t, {
    onConnect: (_packet, { index }) => ({ sessionPresent: index > 0 }),
    onSubscribe: ({ subscriptions: [asked] }, connection) => {
      if (asked!.topic !== 'ask/+') return undefined
      connection.drop()
      return false
    }
  }, { clientId: 'kept', session: { clean: false, expiry: 60 }, reconnect })
  const { subscribed } = app.mqtt.topic('ask/+', { qos: 1 }, () => 'the first')
  app.mqtt.topic('ask/#', { qos: 1 }, () => 'the second')
  await app.ready()
  await t.rejects(subscribed, { code: 'FST_MQTT_SUBSCRIBE_REFUSED' })
  await waitFor(() => app.mqtt.connected && app.mqtt.subscriptions.every(({ status }) => status !== 'pending'), 'the connection behind it')
  // As long as a copy is waited for, and it begins first: no answer that had to wait comes before.
  const late = new Promise<string>(resolve => { setTimeout(() => { resolve('waited') }, 1_000).unref() })
  ids.allocate('ask/+')
  broker.last.deliver({ topic: 'ask/7', qos: 1, messageId: 1, properties: { responseTopic: 'me', subscriptionIdentifier: ids.allocate('ask/#') as never } })
  const answered = broker.last.until('publish').then(() => 'at once')
  t.equal(await Promise.race([answered, late]), 'at once')
  t.strictSame(broker.last.published, ['the second'])
})

t.test('MQTT 5: where the broker had granted it before, its copy belongs to the message', async t => {
  const ids = new SubscriptionIds()
  const { app, broker } = await scriptedApp(t, {
    onConnect: (_packet, { index }) => ({ sessionPresent: index > 0 }),
    onSubscribe: ({ subscriptions: [asked] }, connection) => {
      if (connection.index === 0 || asked!.topic !== 'ask/+') return undefined
      connection.drop()
      return false
    }
  }, { clientId: 'kept', session: { clean: false, expiry: 60 }, reconnect })
  const first = app.mqtt.topic('ask/+', { qos: 1 }, () => 'the first')
  const second = app.mqtt.topic('ask/#', { qos: 1 }, () => 'the second')
  await app.ready()
  await Promise.all([first.subscribed, second.subscribed])
  broker.last.drop()
  await waitFor(() => app.mqtt.connected && app.mqtt.subscriptions.some(({ status }) => status === 'refused'), 'the connection behind the hang-ups')
  await waitFor(() => app.mqtt.subscriptions.every(({ status }) => status !== 'pending'), 'the other one')
  const copy = (filter: string, messageId: number) => ({
    topic: 'ask/7', qos: 1 as const, messageId, properties: { responseTopic: 'me', correlationData: Buffer.from('7'), subscriptionIdentifier: ids.allocate(filter) as never }
  })
  // As long as a second answer would take at most, and a little more.
  const over = new Promise(resolve => { setTimeout(resolve, 1_500) })
  broker.last.deliver(copy('ask/#', 1), copy('ask/+', 2))
  await over
  t.equal(broker.last.published.length, 1)
})
