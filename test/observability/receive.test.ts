import t from 'tap'
import type { ReceiveEvent } from '../../lib/index.ts'
import { receives } from '../../lib/tracing.ts'
import { Gates } from '../faults/gates.ts'
import { liveApp } from '../faults/scripted-app.ts'
import { allSettings, buildApp, connect, mosquittoSettings } from '../support/app.ts'
import { waitFor } from '../support/events.ts'
import { recordPlain } from './record.ts'

/* docs/observability.md: what the broker has sent, and what becomes of it. */

const CHANNEL = 'fastify-multimqtt.receive'

for (const { name, skip, start } of allSettings()) {
  t.test(`${name}: as many as status() counts`, { skip }, async t => {
    const { options } = await start(t)
    const { app } = await buildApp(t, { ...options, prefix: 'plant' })
    let handled = 0
    app.mqtt.topic('a/#', { qos: 2 }, () => { handled++ })
    await connect(app)
    const told = recordPlain<ReceiveEvent>(t, CHANNEL)
    for (const qos of [0, 1, 2] as const) await app.mqtt.publish(`a/${qos}`, 'é', { qos })
    await waitFor(() => handled === 3, 'all')
    // The embedded broker may pass on QoS 1 behind QoS 2.
    told.sort((one, other) => one.qos - other.qos)
    t.strictSame(told.map(({ properties: _properties, ...rest }) => rest), [0, 1, 2].map(qos => (
      { namespace: undefined, topic: `plant/a/${qos}`, qos, retain: false, dup: false, bytes: 2, outcome: 'accepted' })))
    t.equal(app.mqtt.status().counters.received, told.length)
  })
}

for (const { name, skip, start } of mosquittoSettings()) {
  t.test(`${name}: oversize`, { skip }, async t => {
    const { options } = await start(t)
    const { app } = await buildApp(t, { ...options, maxPayload: 100 })
    const { app: other } = await buildApp(t, options)
    const errors: string[] = []
    app.mqtt.setErrorHandler(error => { errors.push((error as unknown as { code: string }).code) })
    app.mqtt.topic('a', { qos: 1 }, () => {})
    await connect(app)
    await connect(other)
    const told = recordPlain<ReceiveEvent>(t, CHANNEL)
    await other.mqtt.publish('a', 'x'.repeat(200), { qos: 1 })
    await other.mqtt.publish('a', 'x', { qos: 1 })
    await waitFor(() => told.some(({ outcome }) => outcome === 'accepted'), 'the small one')
    t.strictSame(told.map(({ bytes, outcome }) => [bytes, outcome]), [[200, 'oversize'], [1, 'accepted']])
    t.strictSame(errors, ['FST_MQTT_PAYLOAD'])
  })
}

t.test('MQTT 5: a broker that sends too much all the same', async t => {
  const { broker } = await liveApp(t, {}, { maxPayload: 100 }, app => { app.mqtt.topic('a', () => {}) })
  const told = recordPlain<ReceiveEvent>(t, CHANNEL)
  broker.last.deliver({ topic: 'a', payload: 'x'.repeat(200), qos: 1, messageId: 1, properties: { userProperties: { not: 'read' } } })
  await broker.last.until('puback')
  t.match(told, [{ topic: 'a', outcome: 'oversize', properties: {} }])
})

t.test('what comes again is told as such', async t => {
  const gates = new Gates()
  const { broker } = await liveApp(t, { onConnect: (_packet, { index }) => ({ sessionPresent: index > 0 }) },
    { session: { clean: false, expiry: 60 }, clientId: 'durable' }, app => { app.mqtt.topic('h', { qos: 2 }, () => gates.wait('h')) })
  const told = recordPlain<ReceiveEvent>(t, CHANNEL)
  broker.last.deliver({ topic: 'h', qos: 2, messageId: 7 }, { topic: 'h', qos: 2, messageId: 7, dup: true })
  await gates.entered('h')
  broker.last.drop()
  const second = await broker.connection(1)
  second.deliver({ topic: 'h', qos: 2, messageId: 7, dup: true })
  await waitFor(() => told.length >= 3, 'the third copy')
  gates.open('h')
  await second.until('pubcomp')
  t.strictSame(told.map(({ dup, outcome }) => [dup, outcome]), [[false, 'accepted'], [true, 'repeated'], [true, 'repeated']])
})

t.test('a full inbox drops QoS 0', async t => {
  const gates = new Gates()
  const { app, broker } = await liveApp(t, {}, { inbox: { maxMessages: 2 }, order: 'none' }, app => { app.mqtt.topic('h', () => gates.wait('h')) })
  const told = recordPlain<ReceiveEvent>(t, CHANNEL)
  broker.last.deliver(...Array.from({ length: 5 }, () => ({ topic: 'h', qos: 0 as const })))
  await waitFor(() => told.length >= 5, 'all five')
  t.strictSame(told.map(({ outcome }) => outcome), ['accepted', 'accepted', 'dropped', 'dropped', 'dropped'])
  t.match(app.mqtt.status().counters, { received: 5, dropped: 3 })
  gates.open('h')
})

for (const { name, skip, start } of mosquittoSettings().slice(0, 1)) {
  t.test(`${name}: answers, and what no route matches`, { skip }, async t => {
    const { options } = await start(t)
    const { app } = await buildApp(t, { ...options, protocolVersion: 5 })
    app.mqtt.topic('ask', () => 'answer')
    await connect(app)
    await app.mqtt.subscribe('other')
    const told = recordPlain<ReceiveEvent>(t, CHANNEL)
    await app.mqtt.request('ask', '', { properties: { userProperties: { who: 'me' } } })
    await app.mqtt.publish('other', '')
    await waitFor(() => told.length >= 3, 'all')
    t.match(told, [
      { topic: 'ask', outcome: 'accepted', properties: { userProperties: { who: 'me' } } },
      { topic: /^reply\//, outcome: 'reply' },
      { topic: 'other', outcome: 'accepted' }
    ])
    await app.mqtt.inject({ topic: 'ask' })
    t.equal(told.length, 3, 'what is injected was not received')
  })
}

t.test('with nobody there nothing is made', async t => {
  const { broker } = await liveApp(t, {}, {}, app => { app.mqtt.topic('h', { qos: 1 }, () => {}) })
  let calls = 0
  Object.assign(receives, { publish: () => { calls++ } })
  broker.last.deliver({ topic: 'h', qos: 1, messageId: 1 })
  await broker.last.until('puback')
  Reflect.deleteProperty(receives, 'publish')
  t.equal(calls, 0)
})
