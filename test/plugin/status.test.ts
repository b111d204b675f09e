import t from 'tap'
import type { ConnectionState } from '../../lib/index.ts'
import { Gates } from '../faults/gates.ts'
import { liveApp, scriptedApp } from '../faults/scripted-app.ts'
import { buildApp } from '../support/app.ts'
import { waitFor } from '../support/events.ts'

/* State, connected, protocolVersion, status(), and that they agree at every moment. */

t.test('every state in its turn, each with its own `since`', async t => {
  let accept = false
  const { app, broker } = await scriptedApp(t, {
    onConnect: () => accept ? undefined : { reasonCode: 0x86 }
  }, { reconnect: { min: 1, max: 30 } })
  const states: ConnectionState[] = []
  const note = (): void => {
    const { state, connected, since, protocolVersion } = app.mqtt.status()
    t.strictSame([state, connected, protocolVersion], [app.mqtt.state, app.mqtt.connected, app.mqtt.protocolVersion])
    t.equal(connected, state === 'connected')
    t.equal(protocolVersion, connected ? 5 : undefined)
    t.ok(since <= Date.now())
    if (states.at(-1) !== state) states.push(state)
  }
  note()
  const before = app.mqtt.status().since
  await app.ready()
  note()
  await waitFor(() => app.mqtt.state === 'refused', 'the refusal')
  note()
  t.match(app.mqtt.status().lastError, { code: 'FST_MQTT_CONNECT_REFUSED', message: /0x86/ })
  accept = true
  await waitFor(() => app.mqtt.connected, 'CONNACK')
  note()
  t.equal(app.mqtt.status().lastError, undefined)
  t.ok(app.mqtt.status().since >= before)
  accept = false
  broker.last.drop()
  await waitFor(() => app.mqtt.state === 'reconnecting', 'the loss')
  note()
  t.type(app.mqtt.status().lastError?.code, 'string')
  const closed = app.close()
  await waitFor(() => app.mqtt.state !== 'reconnecting' && app.mqtt.state !== 'refused', 'closing')
  note()
  await closed
  note()
  t.strictSame(states.filter(state => state !== 'connecting' || states.indexOf(state) === states.lastIndexOf(state)), [
    'idle', 'connecting', 'refused', 'connected', 'reconnecting', 'closing', 'closed'
  ])
})

t.test('what waits is counted, in messages, bytes and at the broker; counters outlive a connection', async t => {
  const gates = new Gates()
  const { app, broker } = await liveApp(t, { onPublish: ({ topic }) => topic === 'held' ? false : undefined }, { outbox: { inflight: 1 } }, app => {
    app.mqtt.topic('in/<name>', { qos: 1 }, ({ params }) => gates.wait(params.name))
  })
  t.match(app.mqtt.status(), {
    outbox: { messages: 0, bytes: 0, inflight: 0 },
    inbox: { messages: 0, bytes: 0, running: 0 },
    workers: 0,
    counters: { published: 0, refused: 0, received: 0, handled: 0, failed: 0, unmatched: 0, dropped: 0, oversize: 0, reconnects: 0 }
  })
  await app.mqtt.publish('x', '', { qos: 1 })
  await t.rejects(app.mqtt.publish('x/#', ''))
  for (let i = 0; i < 2; i++) void app.mqtt.publish('held', 'four', { qos: 1 })
  await broker.last.until('publish', 2)
  // Fixed header 2, topic 6, packet id 2, properties 1, payload 4.
  t.strictSame(app.mqtt.status().outbox, { messages: 2, bytes: 30, inflight: 1 })
  const { subscriptionIdentifier } = broker.last.of('subscribe')[0]!.properties!
  broker.last.deliver({ topic: 'in/a', qos: 1, messageId: 1, payload: 'four', properties: { subscriptionIdentifier: subscriptionIdentifier as never } })
  await gates.entered('a')
  const { messages, bytes, running } = app.mqtt.status().inbox
  t.strictSame([messages, running], [1, 1])
  t.ok(bytes >= 4 + 4 && bytes < 40, `${bytes} bytes`)
  gates.open('a')
  await broker.last.until('puback')
  broker.last.drop()
  await waitFor(() => broker.connections.length === 2 && app.mqtt.connected, 'a second connection')
  t.match(app.mqtt.status(), { inbox: { messages: 0, bytes: 0, running: 0 }, counters: { published: 1, refused: 1, received: 1, handled: 1, reconnects: 1 } })
})

t.test('subscriptions: pending, active, refused; plain JSON in each', async t => {
  const { app } = await buildApp(t, { port: 1, reconnect: { min: 60_000, max: 60_000 } })
  app.mqtt.topic('a', { qos: 2 }, () => {})
  t.strictSame(app.mqtt.subscriptions, [{ filter: 'a', qos: 2, status: 'pending' }])
  const { app: live } = await scriptedApp(t, { onSubscribe: ({ subscriptions }) => subscriptions[0]!.topic === 'no' ? { granted: [0x87] } : { granted: [1] } })
  for (const pattern of ['yes', 'no']) live.mqtt.topic(pattern, { qos: 2 }, () => {})
  await live.ready()
  await waitFor(() => live.mqtt.subscriptions.every(({ status }) => status !== 'pending'), 'the answers')
  const status = live.mqtt.status()
  t.strictSame(status.subscriptions, live.mqtt.subscriptions)
  t.match(status.subscriptions, [
    { filter: 'yes', qos: 2, granted: 1, status: 'active' }, { filter: 'no', qos: 2, status: 'refused', error: { code: 'FST_MQTT_SUBSCRIBE_REFUSED', message: /0x87 Not authorized/ } }
  ])
  t.strictSame(JSON.parse(JSON.stringify(status)), status)
})
