import { execFileSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import net from 'node:net'
import { join } from 'node:path'
import tls from 'node:tls'
import Fastify from 'fastify'
import t, { type Test } from 'tap'
import multimqtt, { type MqttPluginOptions } from '../../lib/index.ts'
import { buildApp, connect } from '../support/app.ts'
import { createCertificates } from '../support/certificates.ts'
import { waitFor } from '../support/events.ts'
import { temporaryFolder } from '../support/folder.ts'
import { mosquittoMissing, startMosquitto } from '../support/mosquitto.ts'

/*
 * Promise P20: nothing in cleartext and nothing unverified by accident. The other side of each attempt counts what it was told
 * once TLS stood, and looks through every byte that came over the wire.
 */

t.setTimeout(90_000)

const SECRETS = { username: 'name-of-a-user', password: 'hunter2-is-a-secret', clientId: 'client-with-a-name' }
const reconnect = { min: 10, max: 20 }
const certificates = createCertificates(t)
const { ca, server, client } = certificates

/** A peer that takes every connection and keeps all that comes. */
interface Listener {
  port: number
  attempts: number
  /** As it came over the wire. */
  raw: Buffer[]
  /** Inside TLS. */
  told: Buffer[]
}

async function listen (t: Test, options?: tls.TlsOptions): Promise<Listener> {
  const listener: Listener = { port: 0, attempts: 0, raw: [], told: [] }
  const sockets = new Set<net.Socket>()
  const secure = options === undefined
    ? undefined
    : tls.createServer(options, socket => {
      socket.on('data', (chunk: Buffer) => { listener.told.push(chunk) })
      socket.on('error', () => {})
    })
  secure?.on('tlsClientError', () => {})
  const tcp = net.createServer(socket => {
    listener.attempts++
    sockets.add(socket)
    socket.on('error', () => {})
    if (secure === undefined) {
      socket.on('data', chunk => { listener.raw.push(chunk) })
      return
    }
    // Seen on its way to TLS.
    const inner = net.connect((relay.address() as net.AddressInfo).port, '127.0.0.1')
    sockets.add(inner)
    inner.on('error', () => {})
    socket.on('data', chunk => { listener.raw.push(chunk) })
    socket.pipe(inner).pipe(socket)
    inner.on('close', () => socket.destroy())
    socket.on('close', () => inner.destroy())
  })
  const relay = secure ?? tcp
  for (const one of new Set<net.Server>([relay, tcp])) await new Promise<void>(resolve => { one.listen(0, '127.0.0.1', resolve) })
  t.after(() => {
    for (const socket of sockets) socket.destroy()
    tcp.close()
    secure?.close()
  })
  listener.port = (tcp.address() as net.AddressInfo).port
  return listener
}

/** Several attempts, none of which gets as far as CONNECT. */
async function expectNothing (t: Test, listener: Listener, options: MqttPluginOptions): Promise<void> {
  // Without a logger: what it would hold back is not what is tested.
  const app = Fastify()
  t.after(() => app.close())
  await app.register(multimqtt, { ...options, ...SECRETS, reconnect, connectTimeout: 300 })
  await app.ready()
  await waitFor(() => listener.attempts > 3, 'some attempts')
  t.equal(app.mqtt.connected, false)
  t.equal(app.mqtt.protocolVersion, undefined)
  t.ok(app.mqtt.status().lastError !== undefined, `told: ${app.mqtt.status().lastError?.code}`)
  t.equal(Buffer.concat(listener.told).length, 0, 'not a byte of the application inside TLS')
  const wire = Buffer.concat(listener.raw).toString('latin1')
  for (const secret of [...Object.values(SECRETS), 'MQTT']) t.notOk(wire.includes(secret), `${secret} is not on the wire`)
  t.comment(`${listener.attempts} attempts, ${wire.length} bytes of TLS, 0 of CONNECT`)
}

const own = (certificate: { cert: string, key: string }): tls.TlsOptions => ({ cert: readFileSync(certificate.cert), key: readFileSync(certificate.key) })

t.test('P20: a scheme that is none of the four is refused, however it is written', async t => {
  const listener = await listen(t)
  const schemes = [
    'mqttss', 'MQTT+SSL', 'mqtt+ssl', 'mqtt+tls', 'mqtts+ssl', 'http', 'https', 'tcp', 'ssl', 'tls', 'tcps', 'file', 'ftp', 'mqtt5', 'mqtts5', 'wsss', 'ws+tls',
    'wxs', 'ali', 'alis', 'unix', 'mqtt.', 'mqtt-s', 'constructor', 'toString'
  ]
  const urls = [
    ...schemes.map(scheme => `${scheme}://u:hunter2@127.0.0.1:${listener.port}`),
    `//127.0.0.1:${listener.port}`, `127.0.0.1:${listener.port}`, `mqtt//127.0.0.1:${listener.port}`, '', ' ', 'mqtts', 'mqtts:', 'mqtts://', 'mqtt\u200b://127.0.0.1'
  ]
  for (const url of urls) {
    const app = Fastify()
    await t.rejects(Promise.resolve(app.register(multimqtt, { url })), { code: 'FST_MQTT_OPTIONS' }, JSON.stringify(url))
    const error = await app.ready().then(() => undefined, (error: Error) => error)
    t.notMatch(error?.message ?? '', /hunter2/)
    await app.close()
  }
  for (const protocol of ['mqttss', 'MQTTS', 'tls', 'ssl', 'tcp', '', 'wxs', null, 8883, ['mqtts'], {}]) {
    const app = Fastify()
    await t.rejects(Promise.resolve(app.register(multimqtt, { protocol: protocol as 'mqtts', port: listener.port })), { code: 'FST_MQTT_OPTIONS' }, `protocol ${JSON.stringify(protocol)}`)
    await app.close()
  }
  // tls asked for, and a scheme that has none.
  for (const url of [`mqtt://127.0.0.1:${listener.port}`, `ws://127.0.0.1:${listener.port}`]) {
    const app = Fastify()
    await t.rejects(Promise.resolve(app.register(multimqtt, { url, tls: { ca } })), { code: 'FST_MQTT_OPTIONS' })
    await app.close()
  }
  for (const client of [{ rejectUnauthorized: false }, { protocol: 'mqtt' }, { servers: [{ host: '127.0.0.1', port: listener.port }] }]) {
    const app = Fastify()
    await t.rejects(Promise.resolve(app.register(multimqtt, { url: 'mqtts://localhost', client: client as never })), { code: 'FST_MQTT_OPTIONS' })
    await app.close()
  }
  t.equal(listener.attempts, 0)
  t.comment(`${urls.length} URLs`)
})

t.test('P20: who can prove itself is told, inside TLS only', async t => {
  // Otherwise the silence below would say nothing.
  const listener = await listen(t, own(server))
  const { app } = await buildApp(t, { url: `mqtts://localhost:${listener.port}`, tls: { ca }, ...SECRETS, reconnect, connectTimeout: 300 })
  await app.ready()
  await waitFor(() => listener.told.length > 0, 'CONNECT')
  const told = Buffer.concat(listener.told).toString('latin1')
  for (const secret of [...Object.values(SECRETS), 'MQTT']) {
    t.ok(told.includes(secret))
    t.notOk(Buffer.concat(listener.raw).toString('latin1').includes(secret))
  }
})

t.test('P20: upper case is the same scheme, not a way around it', async t => {
  const listener = await listen(t, own(server))
  await expectNothing(t, listener, { url: `MQTTS://localhost:${listener.port}`, tls: { ca: certificates.otherCa } })
})

t.test('P20: who cannot prove itself is not told a byte', async t => {
  const folder = temporaryFolder(t)
  const alone = { cert: join(folder, 'alone.crt'), key: join(folder, 'alone.key') }
  execFileSync('openssl', ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-days', '2', '-subj', '/CN=localhost', '-addext', 'subjectAltName=DNS:localhost', '-keyout', alone.key, '-out', alone.cert], { stdio: 'pipe' })
  const table: Array<[name: string, server: tls.TlsOptions, options: (port: number) => MqttPluginOptions]> = [
    ['another CA', own(server), port => ({ url: `mqtts://localhost:${port}`, tls: { ca: certificates.otherCa } })],
    ["the system's CAs", own(server), port => ({ url: `mqtts://localhost:${port}` })],
    ['expired', own(certificates.expired), port => ({ url: `mqtts://localhost:${port}`, tls: { ca } })],
    ['another host', own(certificates.wrongHost), port => ({ url: `mqtts://localhost:${port}`, tls: { ca } })],
    ['another name asked for', own(server), port => ({ url: `mqtts://localhost:${port}`, tls: { ca, servername: 'elsewhere.invalid' } })],
    ['self-signed', own(alone), port => ({ url: `mqtts://localhost:${port}`, tls: { ca } })],
    ["a client's certificate in place of a server's", own(client), port => ({ url: `mqtts://localhost:${port}`, tls: { ca } })],
    ['wss, another CA', own(server), port => ({ url: `wss://localhost:${port}/mqtt`, tls: { ca: certificates.otherCa } })],
    ['wss, another host', own(certificates.wrongHost), port => ({ url: `wss://localhost:${port}/mqtt`, tls: { ca } })],
    ['minVersion is not met', { ...own(server), maxVersion: 'TLSv1.2' }, port => ({ url: `mqtts://localhost:${port}`, tls: { ca, minVersion: 'TLSv1.3' } })],
    ['maxVersion is not met', { ...own(server), minVersion: 'TLSv1.3' }, port => ({ url: `mqtts://localhost:${port}`, tls: { ca, maxVersion: 'TLSv1.2' } })],
    ['no cipher in common', { ...own(server), maxVersion: 'TLSv1.2', ciphers: 'ECDHE-ECDSA-AES256-GCM-SHA384' }, port => ({ url: `mqtts://localhost:${port}`, tls: { ca, ciphers: 'ECDHE-ECDSA-CHACHA20-POLY1305' } })],
    ['TLS 1.1 at most', { ...own(server), minVersion: 'TLSv1', maxVersion: 'TLSv1.1', ciphers: 'DEFAULT@SECLEVEL=0' }, port => ({ url: `mqtts://localhost:${port}`, tls: { ca } })]
  ]
  for (const [name, serving, options] of table) {
    t.test(name, async t => {
      const listener = await listen(t, serving)
      await expectNothing(t, listener, options(listener.port))
    })
  }
})

t.test('P20: a cleartext broker behind a URL that asks for TLS', async t => {
  for (const scheme of ['mqtts', 'wss']) {
    const listener = await listen(t)
    await expectNothing(t, listener, { url: `${scheme}://127.0.0.1:${listener.port}`, tls: { ca } })
    t.ok(listener.raw.length > 0 && listener.raw.every(chunk => chunk[0] === 0x16), 'nothing but handshakes')
  }
})

t.test('P20: what is not verified any more is not reconnected to', { skip: mosquittoMissing() }, async t => {
  // The broker is replaced by somebody who has the port, and not the certificate.
  const broker = await startMosquitto(t, { tls: { ca, ...server } })
  const { app } = await buildApp(t, { ...SECRETS, url: broker.url, tls: { ca }, reconnect })
  await connect(app)
  await broker.stop()
  await waitFor(() => !app.mqtt.connected, 'the loss')
  const told: Buffer[] = []
  let attempts = 0
  const impostor = tls.createServer(own(certificates.wrongHost), socket => { socket.on('data', (chunk: Buffer) => { told.push(chunk) }).on('error', () => {}) })
  impostor.on('tlsClientError', () => {}).on('connection', () => { attempts++ })
  await new Promise<void>(resolve => { impostor.listen(broker.port, '127.0.0.1', resolve) })
  await waitFor(() => attempts > 3, 'some attempts')
  t.equal(told.length, 0)
  await new Promise<void>(resolve => { impostor.close(() => resolve()) })
  await broker.start()
  await waitFor(() => app.mqtt.connected, 'the broker again')
})

t.test('P20: client certificates in each form', { skip: mosquittoMissing() }, async t => {
  const folder = temporaryFolder(t)
  const locked = join(folder, 'locked.key')
  const pfx = join(folder, 'client.p12')
  execFileSync('openssl', ['ec', '-in', client.key, '-aes256', '-passout', 'pass:open sesame', '-out', locked], { stdio: 'pipe' })
  execFileSync('openssl', ['pkcs12', '-export', '-in', client.cert, '-inkey', client.key, '-passout', 'pass:open sesame', '-out', pfx], { stdio: 'pipe' })
  const broker = await startMosquitto(t, { tls: { ca, ...server, requireClientCertificate: true }, config: ['use_identity_as_username true'] })
  const text = (file: string): string => readFileSync(file, 'utf8')
  const forms: Record<string, NonNullable<MqttPluginOptions['tls']>> = {
    paths: { ca, ...client },
    'PEM text': { ca: text(ca), cert: text(client.cert), key: text(client.key) },
    'PEM bytes': { ca: readFileSync(ca), cert: readFileSync(client.cert), key: readFileSync(client.key) },
    'several CAs, mixed': { ca: [certificates.otherCa, text(ca)], ...client },
    'a key with a passphrase': { ca, cert: client.cert, key: locked, passphrase: 'open sesame' },
    'a PKCS #12 file': { ca, pfx, passphrase: 'open sesame' },
    'PKCS #12 bytes': { ca, pfx: readFileSync(pfx), passphrase: 'open sesame' }
  }
  for (const [name, tlsOptions] of Object.entries(forms)) {
    t.test(name, async t => {
      const { app, logger } = await buildApp(t, { url: broker.url, tls: tlsOptions })
      await connect(app)
      t.match(await app.mqtt.publish('a', 'x', { qos: 1 }), { reasonCode: Number })
      t.notMatch(logger.text(), /sesame|BEGIN|rejectUnauthorized/)
    })
  }
  for (const [name, tlsOptions] of Object.entries({
    'the wrong passphrase': { ca, cert: client.cert, key: locked, passphrase: 'closed sesame' },
    'no passphrase': { ca, cert: client.cert, key: locked },
    'the key of another': { ca, cert: client.cert, key: server.key },
    'a file that is none': { ca, cert: ca, key: '/nowhere/at/all' }
  })) {
    t.test(`never connects, and goes on: ${name}`, async t => {
      const { app, logger } = await buildApp(t, { url: broker.url, tls: tlsOptions, reconnect })
      await app.ready()
      await waitFor(() => logger.lines.filter(({ line }) => line.includes('trying again')).length > 2, 'some attempts')
      t.equal(app.mqtt.connected, false)
      t.notMatch(logger.text(), /sesame/)
    })
  }
})
