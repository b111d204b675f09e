import t from 'tap'
import { startAedes } from './aedes.ts'
import { createCertificates } from './certificates.ts'
import { connectClient, refusal } from './client.ts'
import { nextEvent } from './events.ts'
import { DYNSEC_ADMIN, mosquittoMissing, startMosquitto } from './mosquitto.ts'
import { isListening } from './ports.ts'

const skip = mosquittoMissing()

t.test('aedes', async t => {
  const { url } = await startAedes(t)
  const peer = await connectClient(t, url)
  const inbox = await peer.messages('a/+')
  await peer.client.publishAsync('a/b', 'hello')
  await peer.client.publishAsync('b', 'not this')
  await peer.client.publishAsync('a/c', 'world')
  t.strictSame((await inbox.first(2)).map(({ text }) => text), ['hello', 'world'])
})

t.test('mosquitto: sessions and retained messages outlive a restart', { skip }, async t => {
  const broker = await startMosquitto(t, { persistence: true, wsPort: true })
  const { port, pid } = broker
  const peer = await connectClient(t, broker.url, { protocolVersion: 5 })
  await peer.client.publishAsync('kept', 'value', { retain: true, qos: 1 })
  await broker.restart()
  t.equal(broker.port, port)
  t.not(broker.pid, pid)
  const again = await connectClient(t, broker.wsUrl as string)
  t.strictSame((await (await again.messages('kept')).first(1)).map(({ text }) => text), ['value'])
  t.match(broker.log(), /mosquitto version/)
})

t.test('mosquitto: kill, pause, stop', { skip }, async t => {
  const broker = await startMosquitto(t)
  const peer = await connectClient(t, broker.url)
  broker.pause()
  broker.resume()
  await peer.client.publishAsync('x', '', { qos: 1 })
  const closed = nextEvent(peer.client, 'close')
  await broker.kill()
  await closed
  t.throws(() => broker.pid)
  await broker.start()
  broker.pause()
  await broker.stop()
  t.equal(await isListening(broker.port), false, 'a frozen broker is ended too')
})

t.test('mosquitto: users, ACL, packet size', { skip }, async t => {
  const broker = await startMosquitto(t, {
    users: { dev: 'secret' },
    acl: 'user dev\ntopic readwrite mine/#\n',
    maxPacketSize: 2_000
  })
  t.match(await refusal(t, broker.url), { code: 5 })
  const peer = await connectClient(t, broker.url, { username: 'dev', password: 'secret', protocolVersion: 5 })
  await t.rejects(peer.client.publishAsync('theirs', '', { qos: 1 }), /Not authorized/)
  broker.setAcl('user dev\ntopic readwrite theirs\n')
  await broker.restart()
  const again = await connectClient(t, broker.url, { username: 'dev', password: 'secret', protocolVersion: 5 })
  await again.client.publishAsync('theirs', '', { qos: 1 })
  const closed = nextEvent(again.client, 'close')
  again.client.publish('theirs', Buffer.alloc(3_000))
  await closed
})

t.test('mosquitto: dynamic security', { skip }, async t => {
  const broker = await startMosquitto(t, { dynsec: true })
  t.match(await refusal(t, broker.url), { code: 5 })
  const peer = await connectClient(t, broker.url, DYNSEC_ADMIN)
  const inbox = await peer.messages('$CONTROL/dynamic-security/v1/response')
  await peer.client.publishAsync('$CONTROL/dynamic-security/v1', JSON.stringify({ commands: [{ command: 'listClients' }] }))
  t.match((await inbox.first(1))[0]?.text, /listClients/)
})

t.test('mosquitto: TLS', { skip }, async t => {
  const certificates = createCertificates(t)
  const { ca, server, expired, wrongHost, client, expiredClient, otherCa, stranger } = certificates
  const { readFileSync } = await import('node:fs')
  const read = (file: string): Buffer => readFileSync(file)
  const identity = ({ cert, key }: { cert: string, key: string }): object =>
    ({ ca: read(ca), cert: read(cert), key: read(key) })

  const broker = await startMosquitto(t, { tls: { ca, ...server, requireClientCertificate: true } })
  await connectClient(t, broker.url, identity(client))
  await t.rejects(connectClient(t, broker.url, identity(stranger)))
  await t.rejects(connectClient(t, broker.url, identity(expiredClient)))
  await t.rejects(connectClient(t, broker.url, { ca: read(ca) }), 'no certificate at all')
  t.match(await refusal(t, broker.url, { ca: read(otherCa) }), { code: 'SELF_SIGNED_CERT_IN_CHAIN' })

  const old = await startMosquitto(t, { tls: { ca, ...expired } })
  t.match(await refusal(t, old.url, { ca: read(ca) }), { code: 'CERT_HAS_EXPIRED' })
  const elsewhere = await startMosquitto(t, { tls: { ca, ...wrongHost } })
  t.match(await refusal(t, elsewhere.url, { ca: read(ca) }), { code: 'ERR_TLS_CERT_ALTNAME_INVALID' })
})
