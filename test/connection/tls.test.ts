import { copyFileSync, readFileSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import Fastify from 'fastify'
import t from 'tap'
import multimqtt, { type MqttPluginOptions } from '../../lib/index.ts'
import { readTlsOptions } from '../../lib/connection/tls.ts'
import { buildApp, connect } from '../support/app.ts'
import { createCertificates } from '../support/certificates.ts'
import { waitFor } from '../support/events.ts'
import { temporaryFolder } from '../support/folder.ts'
import { mosquittoMissing, startMosquitto } from '../support/mosquitto.ts'

/** Which of these it is depends on what the broker sends along with its certificate. */
const UNTRUSTED = /UNABLE_TO_VERIFY_LEAF_SIGNATURE|UNABLE_TO_GET_ISSUER_CERT|SELF_SIGNED_CERT_IN_CHAIN/
const reconnect = { min: 20, max: 40 }
const certificates = createCertificates(t)
const { ca, server, client } = certificates

t.test('files and contents', async t => {
  const pem = readFileSync(ca, 'utf8')
  t.strictSame(readTlsOptions({ ca, cert: pem, key: Buffer.from(pem), servername: 'x' }), { ca: readFileSync(ca), cert: pem, key: Buffer.from(pem), servername: 'x' })
  t.strictSame(readTlsOptions({ ca: [ca, pem] }), { ca: [readFileSync(ca), pem] })
  t.throws(() => readTlsOptions({ key: '/nowhere/at/all' }), { code: 'ENOENT' })
})

t.test('on mosquitto', { skip: mosquittoMissing() }, async t => {
  const broker = await startMosquitto(t, { tls: { ca, ...server }, wsPort: true })

  for (const [name, options] of Object.entries({
    mqtts: { url: broker.url, tls: { ca } },
    'mqtts with PEM text': { url: broker.url, tls: { ca: readFileSync(ca, 'utf8'), minVersion: 'TLSv1.3' } },
    'mqtts to an address, its name given': { port: broker.port, protocol: 'mqtts', tls: { ca, servername: 'localhost' } },
    'mqtts to an address in the certificate': { port: broker.port, protocol: 'mqtts', host: '127.0.0.1', tls: { ca } },
    wss: { url: broker.wsUrl!, tls: { ca } }
  } satisfies Record<string, MqttPluginOptions>)) {
    t.test(`connects: ${name}`, async t => {
      const { app, logger } = await buildApp(t, options)
      await connect(app)
      t.match(await app.mqtt.publish('a', 'x'.repeat(100_000), { qos: 1 }), { reasonCode: Number })
      t.notMatch(logger.text(), /rejectUnauthorized/)
    })
  }

  const strange = await startMosquitto(t, { tls: { ca, ...certificates.wrongHost } })
  const old = await startMosquitto(t, { tls: { ca, ...certificates.expired } })
  const table: Array<[name: string, options: MqttPluginOptions, code: RegExp]> = [
    ['another CA', { url: broker.url, tls: { ca: certificates.otherCa } }, UNTRUSTED],
    ["the system's CAs", { url: broker.url }, UNTRUSTED],
    ['wss, another CA', { url: broker.wsUrl!, tls: { ca: certificates.otherCa } }, UNTRUSTED],
    ['expired', { url: old.url, tls: { ca } }, /CERT_HAS_EXPIRED/],
    ['another host', { url: strange.url, tls: { ca } }, /ERR_TLS_CERT_ALTNAME_INVALID/],
    ['another name asked for', { url: broker.url, tls: { ca, servername: 'elsewhere.invalid' } }, /ERR_TLS_CERT_ALTNAME_INVALID/],
    ['cleartext to a TLS port', { url: `mqtt://127.0.0.1:${broker.port}` }, /./],
    ['a file that is not there', { url: broker.url, tls: { ca: '/nowhere/at/all' } }, /ENOENT/]
  ]
  for (const [name, options, code] of table) {
    t.test(`never connects: ${name}`, async t => {
      // Without a logger: the error of a host name that does not fit carries the whole certificate, in a circle.
      const app = Fastify()
      t.after(() => app.close())
      await app.register(multimqtt, { ...options, reconnect, password: 'hunter2', username: 'u' })
      await app.ready()
      let attempts = 0
      app.mqtt.client.on('close', () => { attempts++ })
      await waitFor(() => app.mqtt.status().lastError !== undefined && (attempts > 2 || name.startsWith('a file')), 'some attempts')
      t.match(app.mqtt.status().lastError, { code })
      t.equal(app.mqtt.connected, false)
      t.equal(app.mqtt.protocolVersion, undefined)
      t.notMatch(broker.log() + strange.log() + old.log(), /hunter2/)
    })
  }

  t.test('rejectUnauthorized: false connects, and says what it means', async t => {
    const { app, logger } = await buildApp(t, { url: strange.url, tls: { rejectUnauthorized: false } })
    t.ok(logger.lines.some(({ level, line }) => level === 'warn' && line.includes('rejectUnauthorized')))
    await connect(app)
  })

  t.test('a certificate that is replaced is read again', async t => {
    const file = join(temporaryFolder(t), 'ca.crt')
    copyFileSync(certificates.otherCa, file)
    const { app } = await buildApp(t, { url: broker.url, reconnect, tls: { ca: file } })
    await app.ready()
    await waitFor(() => app.mqtt.status().lastError !== undefined, 'the refusal')
    copyFileSync(ca, file)
    await waitFor(() => app.mqtt.connected, 'the connection')
    rmSync(file)
  })
})

t.test('client certificates', { skip: mosquittoMissing() }, async t => {
  const broker = await startMosquitto(t, { tls: { ca, ...server, requireClientCertificate: true } })
  t.test('the right one', async t => {
    const { app } = await buildApp(t, { url: broker.url, tls: { ca, ...client } })
    await connect(app)
  })
  for (const [name, own] of Object.entries({ none: {}, expired: certificates.expiredClient, "a stranger's": certificates.stranger })) {
    t.test(`never connects: ${name}`, async t => {
      const { app } = await buildApp(t, { url: broker.url, reconnect, tls: { ca, ...own } })
      await app.ready()
      await waitFor(() => app.mqtt.status().lastError !== undefined, 'the refusal')
      t.match(app.mqtt.status().lastError, { code: /^ERR_SSL|ECONNRESET|EPIPE/ })
      t.equal(app.mqtt.connected, false)
    })
  }
})
