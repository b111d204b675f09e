import Fastify from 'fastify'
import { get, type IncomingMessage } from 'node:http'
import { connect, type AddressInfo } from 'node:net'
import type { Duplex } from 'node:stream'
import t from 'tap'
import { createEmbeddedBroker, type EmbeddedBroker } from '../../lib/embedded/broker.ts'
import type { EmbeddedOptions } from '../../lib/embedded/options.ts'
import { createWebSocketStream } from '../../lib/ws.ts'
import { connectClient, connected, refusal } from '../support/client.ts'
import { nextEvent, withinTime } from '../support/events.ts'
import type { Owner } from '../support/folder.ts'
import { recordingLogger, type RecordingLogger } from '../support/logger.ts'
import { connectInMemory } from './support.ts'

interface Served {
  app: ReturnType<typeof Fastify>
  broker: EmbeddedBroker
  port: number
  logger: RecordingLogger
}

async function serve (t: Owner, options: EmbeddedOptions = {}): Promise<Served> {
  const app = Fastify()
  const logger = recordingLogger()
  const broker = createEmbeddedBroker({ ws: '/mqtt', ...options }, logger)
  t.after(async () => { await broker.close(); await app.close() })
  app.get('/demo', async () => 'over http')
  broker.attach(app.server)
  await broker.start()
  await app.listen({ port: 0, host: '127.0.0.1' })
  return { app, broker, port: (app.server.address() as AddressInfo).port, logger }
}

/** The status of an upgrade request; 101 is a WebSocket. */
async function upgrade (port: number, path: string, headers: Record<string, string> = {}): Promise<number> {
  return withinTime(new Promise((resolve, reject) => {
    const request = get({
      port,
      path,
      host: '127.0.0.1',
      agent: false,
      headers: {
        connection: 'Upgrade',
        upgrade: 'websocket',
        'sec-websocket-version': '13',
        'sec-websocket-key': 'dGhlIHNhbXBsZSBub25jZQ==',
        'sec-websocket-protocol': 'mqtt',
        ...headers
      }
    })
    request.once('upgrade', (response, socket) => { socket.destroy(); resolve(response.statusCode ?? 0) })
    request.once('response', response => { response.resume(); resolve(response.statusCode ?? 0) })
    request.once('error', reject)
  }), 'an answer')
}

t.test('clients on the HTTP server itself', async t => {
  const { app, broker, port } = await serve(t)
  const page = await connectClient(t, `ws://127.0.0.1:${port}/mqtt`)
  const inbox = await page.messages('a')
  const application = await connectInMemory(t, broker)
  await application.client.publishAsync('a', 'x'.repeat(300_000), { qos: 1 })
  t.equal((await inbox.first(1))[0]?.text.length, 300_000)
  t.equal((await app.inject('/demo')).body, 'over http')
})

t.test('our own client stream', async t => {
  const { port } = await serve(t)
  const { MqttClient } = (await import('mqtt')).default
  const url = `ws://127.0.0.1:${port}/mqtt`
  const peer = await connected(t, new MqttClient(
    () => createWebSocketStream(url, ['mqtt'], {}), { reconnectPeriod: 0, protocolVersion: 4 }
  ))
  const inbox = await peer.messages('a')
  await peer.client.publishAsync('a', 'hello', { qos: 2 })
  t.equal((await inbox.first(1))[0]?.text, 'hello')

  const [error] = await nextEvent(createWebSocketStream('ws://127.0.0.1:1/mqtt', ['mqtt'], {}), 'error')
  t.match(error, { code: 'ECONNREFUSED' })
})

t.test('authenticate holds here too', async t => {
  const { port } = await serve(t, { authenticate: ({ password }) => password === 'right' })
  const url = `ws://127.0.0.1:${port}/mqtt`
  t.match(await refusal(t, url, { username: 'u', password: 'wrong' }), { code: 5 })
  await connectClient(t, url, { username: 'u', password: 'right' })
})

t.test('requests that are not ours', async t => {
  const { app, port } = await serve(t)
  t.equal(await upgrade(port, '/mqtt'), 101)
  t.equal(await upgrade(port, '/mqtt?token=1'), 101)
  t.equal(await upgrade(port, '/other'), 404, 'nobody else listens')
  t.equal(await upgrade(port, '/mqtt/'), 404)
  t.equal(await upgrade(port, '/mqtt', { 'sec-websocket-protocol': 'chat' }), 400)
  t.equal(await upgrade(port, '/mqtt', { 'sec-websocket-version': '1' }), 400)
  app.server.on('upgrade', (request: IncomingMessage, socket: Duplex) => {
    if (request.url === '/other') socket.end('HTTP/1.1 418 Teapot\r\ncontent-length: 0\r\n\r\n')
  })
  t.equal(await upgrade(port, '/other'), 418, 'left to its own listener')
  t.equal(await upgrade(port, '/mqtt'), 101)
})

t.test('without authenticate no other site\'s page gets in', async t => {
  const { port, logger } = await serve(t)
  t.equal(await upgrade(port, '/mqtt', { origin: `http://localhost:${port}` }), 101)
  t.equal(await upgrade(port, '/mqtt', { origin: 'http://127.0.0.1:5173' }), 101)
  t.equal(await upgrade(port, '/mqtt', { origin: 'http://[::1]:5173' }), 101)
  for (const origin of ['https://example.com', 'http://localhost.example.com', 'null']) {
    t.equal(await upgrade(port, '/mqtt', { origin }), 403, origin)
  }
  t.equal(logger.lines.filter(({ level }) => level === 'warn').length, 1, 'said once')
  const guarded = await serve(t, { authenticate: () => true })
  t.equal(await upgrade(guarded.port, '/mqtt', { origin: 'https://example.com' }), 101)
})

t.test('detach lets the HTTP server close', async t => {
  const { app, broker, port } = await serve(t)
  const page = await connectClient(t, `ws://127.0.0.1:${port}/mqtt`)
  // One that never answers our close frame.
  const deaf = connect(port, '127.0.0.1')
  deaf.write('GET /mqtt HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n' +
    'sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\nsec-websocket-protocol: mqtt\r\n\r\n')
  await nextEvent(deaf, 'data')
  const closed = nextEvent(page.client, 'close')
  const before = Date.now()
  broker.detach()
  await withinTime(app.close(), 'the server')
  t.ok(Date.now() - before < 2_000)
  await closed
  deaf.destroy()
})

t.test('before start and without ws nothing is taken', async t => {
  const app = Fastify()
  const broker = createEmbeddedBroker({ ws: '/mqtt' }, recordingLogger())
  t.after(async () => { await broker.close(); await app.close() })
  broker.attach(app.server)
  await app.listen({ port: 0, host: '127.0.0.1' })
  await refusal(t, `ws://127.0.0.1:${(app.server.address() as AddressInfo).port}/mqtt`)

  const other = Fastify()
  createEmbeddedBroker({}, recordingLogger()).attach(other.server)
  t.equal(other.server.listenerCount('upgrade'), 0)
})

t.test('text frames are no MQTT', async t => {
  const { port } = await serve(t)
  const { createRequire } = await import('node:module')
  const WebSocket = createRequire(import.meta.resolve('mqtt'))('ws') as new (url: string, protocols: string[]) => NodeJS.EventEmitter & { send (text: string): void }
  const socket = new WebSocket(`ws://127.0.0.1:${port}/mqtt`, ['mqtt'])
  await nextEvent(socket, 'open')
  socket.send('hello')
  await nextEvent(socket, 'close')
})
