import { once } from 'node:events'
import net from 'node:net'
import Fastify from 'fastify'
import t from 'tap'
import multimqtt, { type MqttPluginOptions } from '../../lib/index.ts'
import { liveApp, outcome, scriptedApp } from '../faults/scripted-app.ts'
import { buildApp, connect, live, mosquittoSettings } from '../support/app.ts'
import { connectClient } from '../support/client.ts'
import { waitFor, withinTime } from '../support/events.ts'
import { mosquittoMissing, startMosquitto } from '../support/mosquitto.ts'
import { freePort } from '../support/ports.ts'

/** A listener that takes connections and never says a word. */
async function blackHole (t: { after (fn: () => unknown): unknown }): Promise<number> {
  const sockets = new Set<net.Socket>()
  const server = net.createServer(socket => { sockets.add(socket) })
  await new Promise<void>(resolve => { server.listen(0, '127.0.0.1', resolve) })
  t.after(() => {
    for (const socket of sockets) socket.destroy()
    server.close()
  })
  return (server.address() as net.AddressInfo).port
}

t.test('register builds and decorates, and opens no socket', async t => {
  let connections = 0
  const server = net.createServer(socket => { connections++; socket.destroy() })
  await new Promise<void>(resolve => { server.listen(0, '127.0.0.1', resolve) })
  t.after(() => server.close())
  const { app } = await buildApp(t, { port: (server.address() as net.AddressInfo).port })
  t.equal(app.mqtt.state, 'idle')
  t.equal(app.mqtt.connected, false)
  t.equal(app.mqtt.protocolVersion, undefined)
  await app.close()
  t.equal(app.mqtt.state, 'closed')
  t.equal(connections, 0)
})

t.test('connect: false never opens a socket', async t => {
  const { app } = await buildApp(t, { connect: false })
  await app.ready()
  t.equal(app.mqtt.state, 'idle')
})

t.test('the application starts without a broker, says so, and closes', async t => {
  const { app, logger } = await buildApp(t, { port: await freePort() })
  app.get('/', async () => app.mqtt.status().state)
  await app.ready()
  t.equal((await app.inject('/')).body, 'connecting')
  await waitFor(() => app.mqtt.status().lastError !== undefined, 'the failure')
  t.match(app.mqtt.status(), { connected: false, lastError: { code: 'ECONNREFUSED' } })
  const pending = app.mqtt.publish('a', 'waits', { qos: 1 })
  await app.close()
  await t.rejects(pending, { code: 'FST_MQTT_CLOSED', maybeSent: false })
  await t.rejects(app.mqtt.publish('a', 'late'), { code: 'FST_MQTT_CLOSED', maybeSent: false })
  t.equal(app.mqtt.state, 'closed')
  t.match(logger.text(), /MQTT connection failed/)
})

t.test('closing while the broker is silent', async t => {
  const { app } = await buildApp(t, { port: await blackHole(t), closeTimeout: 500 })
  await app.ready()
  const pending = app.mqtt.publish('a', 'waits')
  await app.close()
  await t.rejects(pending, { code: 'FST_MQTT_CLOSED' })
})

t.test('close is idempotent, before ready and after', async t => {
  const early = Fastify()
  await early.register(multimqtt, {})
  await early.close()
  await early.close()
  t.equal(early.mqtt.state, 'closed')
})

t.test('waitForConnection: ready is live, or fails with the cause', { skip: mosquittoMissing() }, async t => {
  t.test('live', async t => {
    const broker = await startMosquitto(t)
    const { app } = await buildApp(t, { url: broker.url, waitForConnection: true })
    app.mqtt.topic('a/<int:n>', { qos: 1 }, () => {})
    await app.ready()
    t.equal(app.mqtt.connected, true)
    t.match(app.mqtt.subscriptions, [{ filter: 'a/+', status: 'active', granted: 1 }])
  })

  t.test('connection refused by the broker', async t => {
    const broker = await startMosquitto(t, { users: { somebody: 'secret' } })
    const { app, logger } = await buildApp(t, { url: broker.url, username: 'somebody', password: 'hunter2', waitForConnection: true })
    await t.rejects(async () => { await app.ready() }, { code: 'FST_MQTT_CONNECT_REFUSED', reasonCode: 0x87 })
    t.notMatch(logger.text(), /hunter2/)
  })

  t.test('live, with a filter that another covers', async t => {
    const broker = await startMosquitto(t)
    const settings: MqttPluginOptions[] = [{ url: broker.url, protocolVersion: 5 }, { url: broker.url, protocolVersion: 4 }, { embedded: true }]
    for (const options of settings) {
      const { app } = await buildApp(t, { ...options, waitForConnection: true })
      app.mqtt.topic('a/#', () => {})
      app.mqtt.topic('a/<int:n>', { qos: 1 }, () => {})
      await app.ready()
      t.match(app.mqtt.subscriptions, [{ filter: 'a/#', status: 'active' }, { filter: 'a/+', status: 'active', granted: 1 }])
    }
  })

  t.test('refused with a code that will not change', async t => {
    for (const [protocolVersion, answer] of [[5, { reasonCode: 0x84 }], [4, { returnCode: 1 }]] as const) {
      const { app } = await scriptedApp(t, { onConnect: () => answer }, { protocolVersion, waitForConnection: true })
      const reasonCode = protocolVersion === 5 ? 0x84 : 1
      await t.rejects(async () => { await app.ready() }, { code: 'FST_MQTT_CONNECT_REFUSED', reasonCode }, `MQTT ${protocolVersion}`)
      t.equal(app.mqtt.state, 'closed')
    }
  })

  t.test('the embedded broker ends with it', async t => {
    const port = await freePort()
    const { app } = await buildApp(t, { embedded: { port }, will: () => new Promise<never>(() => {}), waitForConnection: 100 })
    await t.rejects(async () => { await app.ready() }, { code: 'FST_MQTT_TIMEOUT' })
    t.equal(app.mqtt.embedded!.address(), null)
    const socket = net.connect(port, '127.0.0.1')
    await t.rejects(once(socket, 'connect'), { code: 'ECONNREFUSED' })
  })

  t.test('nobody there', async t => {
    const { app } = await buildApp(t, { port: await freePort(), waitForConnection: 200 })
    await t.rejects(async () => { await app.ready() }, { code: 'FST_MQTT_TIMEOUT', message: /ECONNREFUSED/ })
    t.equal(app.mqtt.state, 'closed')
  })
})

t.test('a refused connection is a state of its own', { skip: mosquittoMissing() }, async t => {
  const broker = await startMosquitto(t, { users: { somebody: 'secret' } })
  const { app } = await buildApp(t, { url: broker.url })
  await app.ready()
  await waitFor(() => app.mqtt.state === 'refused', 'the refusal')
  t.match(app.mqtt.status().lastError, { code: 'FST_MQTT_CONNECT_REFUSED', message: /0x87 Not authorized/ })
})

t.test('credentials are asked before every CONNECT', { skip: mosquittoMissing() }, async t => {
  const broker = await startMosquitto(t, { users: { rotating: 'token-2' } })
  let asked = 0
  const { app } = await buildApp(t, {
    url: broker.url,
    reconnect: { min: 10, max: 20 },
    credentials: async () => ({ username: 'rotating', password: `token-${++asked}` })
  })
  await app.ready()
  await live(app)
  t.equal(asked, 2)
  await broker.restart()
  await waitFor(() => asked > 2, 'being asked again')
})

t.test('the will is the bytes that were given, and no others', async t => {
  class Odd extends Uint8Array {
    override get length (): number { return 300 }
  }
  const payload = new Odd(4).fill(65)
  const correlationData = Buffer.from(new Uint8Array(4).fill(66).buffer)
  const { app, broker } = await scriptedApp(t, {}, { will: { topic: 'w', payload, properties: { correlationData } } })
  // The caller may do with its memory what it likes from here on.
  structuredClone([payload.buffer, correlationData.buffer], { transfer: [payload.buffer, correlationData.buffer] })
  await app.ready()
  t.match((await broker.connection(0)).connect, { will: { topic: 'w', payload: Buffer.from('AAAA'), properties: { correlationData: Buffer.from('BBBB') } } })
})

for (const { name, skip, start } of mosquittoSettings()) {
  t.test(`the will: ${name}`, { skip }, async t => {
    const { options, broker } = await start(t)
    const peer = await connectClient(t, broker!.url)
    const wills = await peer.messages('#')
    const will = { topic: 'status', payload: { online: false }, qos: 1 as const }

    const crashing = await buildApp(t, { ...options, prefix: 'p', will, reconnect: { min: 20_000, max: 20_000 } })
    await connect(crashing.app)
    crashing.app.mqtt.client.stream.destroy()
    const [message] = await wills.first(1)
    t.match(message, { topic: 'p/status', text: '{"online":false}' })

    const closing = await buildApp(t, { ...options, will: () => ({ ...will, absolute: true }) })
    await connect(closing.app)
    await closing.app.close()
    await peer.client.publishAsync('after', '', { qos: 1 })
    await wills.first(2)
    t.equal(wills.all[1]!.topic, 'after', 'DISCONNECT was sent: no will')
  })

  t.test(`close drains: ${name}`, { skip }, async t => {
    const { options, broker } = await start(t)
    const peer = await connectClient(t, broker!.url)
    const seen = await peer.messages('drain', { qos: 1 })
    const { app } = await buildApp(t, options)
    let handled = 0
    let enter!: () => void
    const entered = new Promise<void>(resolve => { enter = resolve })
    app.mqtt.topic('slow', { qos: 1 }, async () => {
      enter()
      await new Promise(resolve => setImmediate(resolve))
      await app.mqtt.publish('drain', 'from the handler', { qos: 1 })
      handled++
    })
    await connect(app)
    await app.mqtt.publish('slow', '', { qos: 1 })
    await withinTime(entered, 'the handler')
    const pending: Array<Promise<unknown>> = []
    for (let i = 0; i < 2_000; i++) pending.push(app.mqtt.publish('drain', i, { qos: 1 }))
    await app.close()
    await Promise.all(pending)
    t.equal(handled, 1)
    await seen.first(2_001)
  })
}

t.test('close drains while a SUBSCRIBE that may have ended a connection is without an answer', async t => {
  const { app, broker } = await liveApp(t, { onSubscribe: () => false }, { closeTimeout: 2_000 })
  app.mqtt.topic('silent', () => {})
  await broker.last.until('subscribe')
  broker.last.drop()
  await (await broker.connection(1)).until('subscribe')
  const own = outcome(app.mqtt.publish('drain', '', { qos: 1 }))
  await app.close()
  t.match(await own, { code: 'ok' })
})

t.test('so it does on the next connection, when there is none as it closes', async t => {
  const { app, broker } = await liveApp(t, { onSubscribe: () => false }, { closeTimeout: 4_000, reconnect: { min: 200, max: 200 } })
  app.mqtt.topic('silent', () => {})
  await broker.last.until('subscribe')
  broker.last.drop()
  await waitFor(() => !app.mqtt.connected, 'the end of the connection')
  const own = outcome(app.mqtt.publish('drain', '', { qos: 1 }))
  await app.close()
  t.match(await own, { code: 'ok' })
})

t.test('closing aborts the signal of handlers; what they give up stays unacknowledged', { skip: mosquittoMissing() }, async t => {
  const broker = await startMosquitto(t)
  const options = { url: broker.url, session: { clean: false, expiry: 60 }, clientId: `kept-${process.pid}` }
  const first = await buildApp(t, { ...options, closeTimeout: 10_000 })
  let started!: () => void
  const running = new Promise<void>(resolve => { started = resolve })
  first.app.mqtt.topic('job', { qos: 1 }, message => new Promise((_resolve, reject) => {
    message.signal.addEventListener('abort', () => { reject(new Error('gave up', { cause: message.signal.reason })) })
    started()
  }))
  await connect(first.app)
  await first.app.mqtt.publish('job', 'unfinished', { qos: 1 })
  await withinTime(running, 'the handler')
  await withinTime(first.app.close(), 'close, long before closeTimeout', { within: 5_000 })
  t.match(first.app.mqtt.status().counters, { handled: 0, failed: 0 })

  const second = await buildApp(t, options)
  const again = new Promise<string>(resolve => second.app.mqtt.topic('job', { qos: 1 }, message => { resolve(message.text()) }))
  await connect(second.app)
  t.equal(await withinTime(again, 'the message, again'), 'unfinished')
})

t.test('handlers have ended when onClose hooks run, in whatever order those were added', async t => {
  const app = Fastify()
  const seen: string[] = []
  app.addHook('onClose', async () => { seen.push('added before') })
  await app.register(multimqtt, { embedded: true })
  app.addHook('onClose', async () => { seen.push('added behind') })
  app.mqtt.topic('work/<int:n>', { qos: 1, concurrency: 1 }, async ({ params }) => {
    await new Promise(resolve => { setImmediate(resolve) })
    await app.mqtt.publish('result', '', { qos: 1 })
    seen.push(`handled ${params.n}`)
  })
  await connect(app)
  await Promise.all([1, 2, 3].map(n => app.mqtt.publish(`work/${n}`, '', { qos: 1 })))
  await waitFor(() => app.mqtt.status().counters.received === 3, 'all in the inbox')
  await app.close()
  t.strictSame(seen, ['handled 1', 'handled 2', 'handled 3', 'added behind', 'added before'])
  t.match(app.mqtt.status(), { outbox: { messages: 0 }, counters: { refused: 0, handled: 3 } })
})

t.test('a handler that hangs holds up onClose hooks for part of closeTimeout only', async t => {
  const app = Fastify()
  await app.register(multimqtt, { embedded: true, closeTimeout: 200 })
  let ran = false
  app.addHook('onClose', async () => { ran = true })
  app.mqtt.topic('hang', () => new Promise(() => {}))
  await connect(app)
  await app.mqtt.publish('hang', '')
  await waitFor(() => app.mqtt.status().inbox.running === 1, 'the handler')
  await withinTime(app.close(), 'close')
  t.ok(ran)
})

t.test('nothing of a handler that hangs keeps the process alive after close', async t => {
  const app = Fastify()
  await app.register(multimqtt, { embedded: true, closeTimeout: 100, handlerTimeout: 60_000 })
  app.mqtt.topic('hang', () => new Promise(() => {}))
  await connect(app)
  const before = process.getActiveResourcesInfo().filter(name => name === 'Timeout').length
  await app.mqtt.publish('hang', '')
  await waitFor(() => app.mqtt.status().inbox.running === 1, 'the handler')
  await withinTime(app.close(), 'close')
  t.ok(process.getActiveResourcesInfo().filter(name => name === 'Timeout').length <= before)
})

t.test('nothing waits for ever on an application that has closed', async t => {
  const { app } = await buildApp(t, { embedded: true })
  await connect(app)
  await app.close()
  await t.rejects(app.mqtt.subscribe('x'), { code: 'FST_MQTT_CLOSED' })
  await t.rejects(app.mqtt.topic('y', () => {}).subscribed, { code: 'FST_MQTT_CLOSED' })
})

t.test('two clients with one id: the loop is named', { skip: mosquittoMissing() }, async t => {
  const broker = await startMosquitto(t)
  const options = { url: broker.url, clientId: `same-${process.pid}`, reconnect: { min: 5, max: 20 } }
  const apps = [await buildApp(t, options), await buildApp(t, options)]
  for (const { app } of apps) await app.ready()
  await waitFor(() => apps.some(({ logger }) => /is another client connected as/.test(logger.text())), 'the loop to be named')
})

t.test('ws to a broker, and mqtt over a prefix in the URL', { skip: mosquittoMissing() }, async t => {
  const broker = await startMosquitto(t, { wsPort: true })
  for (const url of [broker.wsUrl!, `${broker.url}/some/prefix`]) {
    const { app } = await buildApp(t, { url })
    const got: string[] = []
    app.mqtt.topic('x', { qos: 1 }, message => { got.push(message.absoluteTopic) })
    await connect(app)
    await app.mqtt.publish('x', 'y'.repeat(100_000), { qos: 1 })
    await waitFor(() => got.length === 1, 'the message')
    t.equal(got[0], url === broker.wsUrl ? 'x' : 'some/prefix/x')
  }
})
