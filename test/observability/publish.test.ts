import { AsyncLocalStorage } from 'node:async_hooks'
import type { FastifyInstance } from 'fastify'
import t, { type Test } from 'tap'
import type { MqttPluginOptions, PublishEvent } from '../../lib/index.ts'
import { liveApp, outcome } from '../faults/scripted-app.ts'
import { allSettings, buildApp, connect } from '../support/app.ts'
import { connectClient } from '../support/client.ts'
import { waitFor } from '../support/events.ts'
import { mosquittoMissing, startMosquitto } from '../support/mosquitto.ts'
import { publishChannel, recordPublishes, type Told } from './record.ts'

/* docs/observability.md: one trace for each publish, from its call until it has settled. */

const GOOD = ['start', 'end', 'asyncStart', 'asyncEnd']
const BAD = ['start', 'end', 'error', 'asyncStart', 'asyncEnd']

async function build (t: Test, options: MqttPluginOptions = {}): Promise<{ app: FastifyInstance, told: Told<PublishEvent> }> {
  const { app } = await buildApp(t, { connect: false, protocolVersion: 5, ...options })
  return { app, told: recordPublishes(t) }
}

/** A publish that is noted while a message is handled, with what it would be sent with. */
async function sent (app: FastifyInstance, publish: () => Promise<unknown>): Promise<unknown> {
  const route = app.mqtt.topic('do', publish)
  const { published, error } = await app.mqtt.inject({ topic: 'do' })
  await route.remove()
  return error ?? published.map(({ absoluteTopic, payload, qos, retain, properties }) => ({ absoluteTopic, payload: payload.toString(), qos, retain, properties: JSON.parse(JSON.stringify(properties)) as unknown }))
}

t.test('fields, also of what is not sent', async t => {
  const { app, told } = await build(t, { prefix: 'plant' })
  await app.ready()
  await app.mqtt.publish('a', 'é', { qos: 1, retain: true, properties: { contentType: 'text/plain', userProperties: { tenant: 'x' } } })
  await app.mqtt.publish('$SYS/a', { n: 1 }, { absolute: true })
  await outcome(app.mqtt.publish('a/#', 'x'))
  await outcome(app.mqtt.publish(3 as never, 'x'))
  await outcome(app.mqtt.publish('a', 'x', { qos: 3 as never }))
  await outcome(app.mqtt.publish('a', { toJSON: () => { throw new Error('no') } }))
  const plain = { namespace: undefined, source: 'main', protocolVersion: 5, properties: { userProperties: {} }, qos: 0, retain: false }
  t.match(told.byEvent(), [
    { names: GOOD, event: { ...plain, topic: 'plant/a', qos: 1, retain: true, bytes: 2, properties: { contentType: 'text/plain', userProperties: { tenant: 'x' } }, result: { reasonCode: 0 }, error: undefined } },
    { names: GOOD, event: { ...plain, topic: '$SYS/a', bytes: 7, result: { reasonCode: 0 } } },
    { names: BAD, event: { ...plain, topic: 'plant/a/#', result: undefined, error: { code: 'FST_MQTT_TOPIC' } } },
    { names: BAD, event: { ...plain, error: { code: 'FST_MQTT_TOPIC' } } },
    { names: BAD, event: { ...plain, error: { code: 'FST_MQTT_PROPERTY' } } },
    { names: BAD, event: { ...plain, error: { code: 'FST_MQTT_PAYLOAD' } } }
  ])
})

t.test('bad input is the same with and without somebody watching', async t => {
  const bad: Array<[topic: unknown, payload: unknown, options: unknown]> = [
    ['', '', {}], ['a+', '', {}], [null, '', {}], ['a', Promise.resolve(1), {}], ['a', Symbol('x'), {}], ['a', () => {}, {}], ['a', '', null], ['a', '', 'x'],
    ['a', '', { qos: 4 }], ['a', '', { what: 1 }], ['a', '', { signal: AbortSignal.abort() }], ['a', '', { get qos () { throw new Error('getter') } }],
    ...[null, [], 'x', 3, { what: 1 }, { userProperties: null }, { userProperties: [] }, { userProperties: 'x' }, { userProperties: { a: 1 } }, { contentType: 3 },
      { get contentType () { throw new Error('getter') } }].map((properties): [unknown, unknown, unknown] => ['a', '', { properties }])
  ]
  const { app } = await buildApp(t, { connect: false, protocolVersion: 5 })
  await app.ready()
  const all = (): Promise<unknown[]> => Promise.all(bad.map(([topic, payload, options]) =>
    app.mqtt.publish(topic as never, payload, options as never).then(() => 'ok', ({ message, maybeSent }: Error & { maybeSent?: boolean }) => [message, maybeSent])))
  const without = await all()
  const told = recordPublishes(t)
  t.strictSame(await all(), without)
  t.notOk(without.includes('ok'))
  t.strictSame(told.byEvent().map(({ names }) => names), bad.map(() => BAD))
  t.comment(`${bad.length} kinds of bad input`)
})

t.test('each thing is read once', async t => {
  const { app, told } = await build(t)
  await app.ready()
  let reads = 0
  const counting = { toJSON: () => ++reads }
  const options = { get qos () { reads++; return 1 as const } }
  await app.mqtt.publish('a', counting, options)
  t.equal(reads, 2)
  t.equal(told.events[0]!.qos, 1)
})

t.test('what is set in start is sent, and the caller\'s objects stay as they were', async t => {
  const { app } = await build(t)
  const given = { contentType: 'text/plain', userProperties: { tenant: 'x' } }
  recordPublishes(t, (name, { properties }) => { if (name === 'start') properties!.userProperties.traceparent = 'trace' })
  t.strictSame(await sent(app, () => app.mqtt.publish('a', 'é', { properties: given })), [
    { absoluteTopic: 'a', payload: 'é', qos: 0, retain: false, properties: { contentType: 'text/plain', userProperties: { tenant: 'x', traceparent: 'trace' } } }
  ])
  t.strictSame(given, { contentType: 'text/plain', userProperties: { tenant: 'x' } })
  t.match(await sent(app, () => app.mqtt.publish('a', '')), [{ properties: { userProperties: { traceparent: 'trace' } } }])
})

t.test('hooks come behind it: they see what was set, and are part of it', async t => {
  const { app } = await build(t)
  const seen: unknown[] = []
  recordPublishes(t, (name, { topic, properties }) => {
    seen.push([name, topic])
    if (name === 'start') properties!.userProperties.traceparent = 'trace'
  })
  app.mqtt.addHook('onPublish', async packet => {
    await new Promise(resolve => { setImmediate(resolve) })
    seen.push(['hook', { ...packet.properties.userProperties }])
    packet.topic = 'b'
  })
  t.match(await sent(app, () => app.mqtt.publish('a', '')), [{ absoluteTopic: 'b', properties: { userProperties: { traceparent: 'trace' } } }])
  t.strictSame(seen, [['start', 'a'], ['end', 'a'], ['hook', { traceparent: 'trace' }], ['asyncStart', 'a'], ['asyncEnd', 'a']])
})

t.test('what is set there and cannot be sent rejects the publish', async t => {
  const { app } = await build(t)
  recordPublishes(t, (name, { properties }) => { if (name === 'start') properties!.userProperties.traceparent = 3 as never })
  t.match(await sent(app, () => app.mqtt.publish('a', '')), { code: 'FST_MQTT_PROPERTY', maybeSent: false })
})

t.test('a store that is bound to it may set them as well, and is current until the publish has settled', async t => {
  const { app } = await build(t)
  const store = new AsyncLocalStorage<string>()
  publishChannel.start.bindStore(store, ({ properties }) => (properties!.userProperties.traceparent = 'from the store'))
  t.after(() => { publishChannel.start.unbindStore(store) })
  const current: unknown[] = []
  recordPublishes(t, name => { current.push([name, store.getStore()]) })
  t.match(await sent(app, () => app.mqtt.publish('a', '')), [{ properties: { userProperties: { traceparent: 'from the store' } } }])
  t.strictSame(current, GOOD.map(name => [name, 'from the store']))
  t.equal(store.getStore(), undefined)
})

t.test('MQTT 3.1.1 has no properties: what is set goes nowhere, and nobody is warned', async t => {
  const { app, logger } = await buildApp(t, { connect: false, protocolVersion: 4 })
  recordPublishes(t, (name, { properties }) => { if (name === 'start') properties!.userProperties.traceparent = 'trace' })
  t.match(await sent(app, () => app.mqtt.publish('a', 'x')), [{ payload: 'x', properties: {} }])
  t.notOk(logger.lines.some(({ line }) => line.includes('3.1.1')))
})

for (const { name, skip, start } of allSettings()) {
  t.test(`${name}: QoS 0 to 2, many at once`, { skip }, async t => {
    const { options } = await start(t)
    const { app } = await buildApp(t, options)
    await connect(app)
    const told = recordPublishes(t)
    await Promise.all(Array.from({ length: 300 }, (_, n) => app.mqtt.publish('a', n, { qos: n % 3 as 0 | 1 | 2 })))
    t.strictSame(told.byEvent().map(({ names, event }) => [names.join(), event.qos, event.error]), Array.from({ length: 300 }, (_, n) => [GOOD.join(), n % 3, undefined]))
    t.comment(`${told.events.length} events of 300 publishes`)
  })
}

t.test('refused, timed out, closed; nobody has to await them', async t => {
  const { app } = await liveApp(t, { onPublish: ({ topic }) => topic === 'refused' ? { reasonCode: 0x87 } : false })
  const told = recordPublishes(t)
  void app.mqtt.publish('refused', '', { qos: 1 })
  void app.mqtt.publish('late', '', { qos: 1, timeout: 20 })
  void app.mqtt.publish('closed', '', { qos: 1 })
  await waitFor(() => told.names.length >= 11, 'two that have settled')
  await app.close()
  await waitFor(() => told.names.length >= 15, 'the third')
  t.match(told.byEvent().map(({ names, event }) => [names, event.topic, (event.error as { code?: string }).code]), [
    [BAD, 'refused', 'FST_MQTT_PUBLISH_REFUSED'], [BAD, 'late', 'FST_MQTT_TIMEOUT'], [BAD, 'closed', 'FST_MQTT_CLOSED']
  ])
})

t.test('requests, replies and dead letters are publishes, too', { skip: mosquittoMissing() }, async t => {
  const broker = await startMosquitto(t)
  const { app } = await buildApp(t, { url: broker.url, protocolVersion: 5 })
  app.mqtt.setErrorHandler(() => {})
  app.mqtt.topic('ask', { qos: 1 }, () => 'answer')
  app.mqtt.topic('fail', { qos: 1, deadLetter: 'dead' }, () => { throw new Error('no') })
  await connect(app)
  const told = recordPublishes(t)
  t.equal((await app.mqtt.request('ask', 'x')).text(), 'answer')
  const { client } = await connectClient(t, broker.url)
  await client.publishAsync('fail', '', { qos: 1 })
  await waitFor(() => told.byEvent().length >= 3 && told.names.filter(name => name === 'asyncEnd').length >= 3, 'the dead letter')
  const [ask, reply, dead] = told.byEvent().map(({ event }) => event)
  t.equal(ask!.topic, 'ask')
  t.match(reply!.topic, /^reply\//)
  t.equal(reply!.topic, ask!.properties!.responseTopic)
  t.match(dead, { topic: 'dead', qos: 1, properties: { userProperties: { 'error-message': 'no' } } })
})

t.test('with nobody there nothing is made', async t => {
  const { app } = await buildApp(t, { connect: false })
  await app.ready()
  let calls = 0
  Object.assign(publishChannel.start, { runStores: () => { calls++ } })
  await app.mqtt.publish('a', '')
  Reflect.deleteProperty(publishChannel.start, 'runStores')
  t.equal(calls, 0)
})
