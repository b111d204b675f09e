import { connect, createServer, type AddressInfo } from 'node:net'
import t from 'tap'
import { createEmbeddedBroker } from '../../lib/embedded/broker.ts'
import { connectClient, refusal } from '../support/client.ts'
import { nextEvent } from '../support/events.ts'
import { recordingLogger } from '../support/logger.ts'
import { isListening } from '../support/ports.ts'
import { connectInMemory, startEmbedded } from './support.ts'

t.test('in memory, every QoS', async t => {
  const { broker } = await startEmbedded(t)
  t.equal(broker.address(), null, 'TCP is not on by itself')
  const { client, messages } = await connectInMemory(t, broker)
  const inbox = await messages('a/#', { qos: 2 })
  for (const qos of [0, 1, 2] as const) await client.publishAsync(`a/${qos}`, 'x'.repeat(200_000 * qos), { qos })
  const received = await inbox.first(3)
  t.strictSame(received.map(({ topic, payload }) => [topic, payload.length]).sort(), [['a/0', 0], ['a/1', 200_000], ['a/2', 400_000]])
})

t.test('between memory and TCP', async t => {
  const { broker, url } = await startEmbedded(t, { port: 0 })
  t.match(broker.address(), { host: '127.0.0.1', port: Number })
  const app = await connectInMemory(t, broker)
  const device = await connectClient(t, url)
  const atDevice = await device.messages('to/device')
  const atApp = await app.messages('to/app')
  await app.client.publishAsync('to/device', '1', { qos: 1 })
  await device.client.publishAsync('to/app', '2', { qos: 1 })
  t.equal((await atDevice.first(1))[0]?.text, '1')
  t.equal((await atApp.first(1))[0]?.text, '2')
})

t.test('a retained message is not changed by the memory it was sent from', async t => {
  const { broker } = await startEmbedded(t)
  const stream = broker.connect()
  stream.write(Buffer.from('100f00044d5154540402003c000361707000'.slice(0, 34), 'hex')) // CONNECT of 'app'
  await nextEvent(stream, 'data')
  const publish = Buffer.from([0x31, 6, 0, 1, 0x61, 0x6f, 0x6e, 0x65]) // a: 'one', retained
  stream.write(publish)
  publish.fill(0)
  const { messages } = await connectInMemory(t, broker)
  t.equal((await (await messages('a')).first(1))[0]?.text, 'one')
})

t.test('a port in use', async t => {
  const taken = createServer().listen(0, '127.0.0.1')
  await nextEvent(taken, 'listening')
  t.after(() => { taken.close() })
  const { port } = taken.address() as AddressInfo
  const broker = createEmbeddedBroker({ port }, recordingLogger())
  await t.rejects(broker.start(), { code: 'FST_MQTT_EMBEDDED', message: /EADDRINUSE/, cause: { code: 'EADDRINUSE' } })
  t.equal(broker.address(), null)
  await broker.close()
})

t.test('a missing aedes says what to install', async t => {
  const missing = Object.assign(new Error("Cannot find package 'aedes' imported from here"), { code: 'ERR_MODULE_NOT_FOUND' })
  const broker = createEmbeddedBroker({}, recordingLogger(), async () => { throw missing })
  await t.rejects(broker.start(), { code: 'FST_MQTT_EMBEDDED', message: /npm install aedes/, cause: missing })
  await broker.close()

  const broken = createEmbeddedBroker({}, recordingLogger(), async () => { throw new Error('does not parse') })
  await t.rejects(broken.start(), { code: 'FST_MQTT_EMBEDDED', message: /does not parse/ })
})

t.test('bad options', async t => {
  const build = (options: object) => () => createEmbeddedBroker(options, recordingLogger())
  for (const host of ['0.0.0.0', '::', '192.168.0.7', 'example.com', '', '127.0.0.1.example.com']) {
    t.throws(build({ port: 0, host }), { code: 'FST_MQTT_OPTIONS', message: /embedded\.host/ }, `host '${host}'`)
    t.doesNotThrow(build({ port: 0, host, authenticate: () => true }), `host '${host}', guarded`)
  }
  for (const host of ['127.0.0.1', '127.1.2.3', '::1', '[::1]', 'localhost', '::ffff:127.0.0.1']) {
    t.doesNotThrow(build({ port: 0, host }), `host '${host}'`)
  }
  for (const port of [-1, 65_536, 1.5, Number.NaN]) t.throws(build({ port }), { code: 'FST_MQTT_OPTIONS', message: /embedded\.port/ })
  for (const ws of ['mqtt', '', '/a?b', '/a b']) t.throws(build({ ws }), { code: 'FST_MQTT_OPTIONS', message: /embedded\.ws/ })
})

t.test('MQTT 5 is refused, and nothing breaks', async t => {
  const { broker, url } = await startEmbedded(t, { port: 0 })
  t.match(await refusal(t, url, { protocolVersion: 5 }), { code: 1 })
  await connectInMemory(t, broker)
})

t.test('noise on the port ends that socket only', async t => {
  const { broker, url, logger } = await startEmbedded(t, { port: 0 })
  const app = await connectInMemory(t, broker)
  const { port } = broker.address() as { port: number }
  for (const noise of ['GET / HTTP/1.1\r\n\r\n', '\x00\x00\x00\x00', '\xff\xff\xff\xff\xff\xff']) {
    const socket = connect(port, '127.0.0.1')
    socket.on('error', () => {})
    socket.write(Buffer.from(noise, 'latin1'))
    socket.resume()
    await nextEvent(socket, 'close')
  }
  const reset = connect(port, '127.0.0.1')
  await nextEvent(reset, 'connect')
  reset.resetAndDestroy()
  await connectClient(t, url)
  await app.client.publishAsync('still', 'here', { qos: 1 })
  t.notMatch(logger.text(), /^error/m)
})

t.test('close', async t => {
  await t.test('before start, and twice', async t => {
    const broker = createEmbeddedBroker({ port: 0 }, recordingLogger())
    await broker.close()
    await broker.close()
    await t.rejects(broker.start(), { code: 'FST_MQTT_EMBEDDED', message: /closed/ })
  })

  await t.test('while it starts', async t => {
    const broker = createEmbeddedBroker({ port: 0 }, recordingLogger())
    const starting = broker.start()
    await broker.close()
    await starting
    t.equal(broker.address(), null)
  })

  await t.test('with clients in each state', async t => {
    const { broker, url } = await startEmbedded(t, { port: 0 })
    const { port } = broker.address() as { port: number }
    const silent = connect(port, '127.0.0.1')
    const notReading = connect(port, '127.0.0.1').pause()
    await Promise.all([nextEvent(silent, 'connect'), nextEvent(notReading, 'connect')])
    const device = await connectClient(t, url)
    const app = await connectInMemory(t, broker)
    const ended = Promise.all([silent.resume(), device.client, app.client].map(async it => nextEvent(it, 'close')))
    const before = Date.now()
    await broker.close()
    t.ok(Date.now() - before < 2_000, 'in time')
    await ended
    notReading.destroy()
    t.equal(await isListening(port), false)
    t.equal(broker.address(), null)
  })

  await t.test('what was acknowledged to the application still reaches its subscribers', async t => {
    const { broker, url } = await startEmbedded(t, { port: 0 })
    const device = await connectClient(t, url)
    const inbox = await device.messages('n/+')
    const app = await connectInMemory(t, broker)
    await Promise.all(Array.from({ length: 500 }, async (_, n) => app.client.publishAsync(`n/${n}`, '', { qos: 1 })))
    await broker.close()
    t.equal((await inbox.first(500)).length, 500)
  })

  await t.test('a connection asked for afterwards fails, and throws nowhere', async t => {
    const { broker } = await startEmbedded(t)
    await broker.close()
    const [error] = await nextEvent(broker.connect(), 'error')
    t.match(error, { code: 'FST_MQTT_EMBEDDED' })
  })

  await t.test('with an answer still owed by a hook', async t => {
    const { broker, url } = await startEmbedded(t, { port: 0, authenticate: async () => new Promise(() => {}) })
    const waiting = refusal(t, url)
    const before = Date.now()
    await new Promise(resolve => setTimeout(resolve, 50))
    await broker.close()
    t.ok(Date.now() - before < 2_000)
    await waiting
  })
})
