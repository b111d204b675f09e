import type { AddressInfo } from 'node:net'
import t from 'tap'
import { buildApp, connect } from '../support/app.ts'
import { connectClient, refusal } from '../support/client.ts'
import { waitFor } from '../support/events.ts'

t.test('devices reach the embedded broker over TCP and over WebSocket on the Fastify server', async t => {
  const { app } = await buildApp(t, { prefix: 'plant', embedded: { port: 0, ws: '/mqtt' } })
  t.equal(app.mqtt.embedded!.address(), null, 'nothing listens before the application is ready')
  const readings: Array<[number, string]> = []
  app.mqtt.topic('device/<int:n>', { qos: 1 }, message => { readings.push([message.params.n, message.text()]) })
  app.get('/', async () => 'http')
  await app.listen({ port: 0, host: '127.0.0.1' })
  await connect(app)
  const { port, host } = app.mqtt.embedded!.address()!
  const httpPort = (app.server.address() as AddressInfo).port

  const overTcp = await connectClient(t, `mqtt://${host}:${port}`)
  const overWs = await connectClient(t, `ws://127.0.0.1:${httpPort}/mqtt`)
  const commands = await overWs.messages('plant/command/#', { qos: 1 })
  await overTcp.client.publishAsync('plant/device/1', 'tcp', { qos: 1 })
  await overWs.client.publishAsync('plant/device/2', 'ws', { qos: 1 })
  await waitFor(() => readings.length === 2, 'two readings')
  t.strictSame(readings.sort(), [[1, 'tcp'], [2, 'ws']])
  await app.mqtt.publish('command/2', 'blink', { qos: 1 })
  t.match(await commands.first(1), [{ topic: 'plant/command/2', text: 'blink' }])
  t.equal((await app.inject('/')).body, 'http')

  await app.close()
  t.equal(app.mqtt.state, 'closed')
})

t.test('authenticate and authorize guard the devices, not the application', async t => {
  const { app, logger } = await buildApp(t, {
    embedded: {
      port: 0,
      authenticate: ({ username, password }) => username === 'device' && password === 'secret',
      authorizePublish: async (_client, { topic }) => topic.startsWith('up/'),
      authorizeSubscribe: (_client, { filter }) => filter.startsWith('down/')
    }
  })
  const ups: string[] = []
  app.mqtt.topic('#', { qos: 1 }, message => { ups.push(message.topic) })
  await connect(app)
  const url = `mqtt://127.0.0.1:${app.mqtt.embedded!.address()!.port}`
  t.match(await refusal(t, url, { username: 'device', password: 'wrong' }), { code: 5 })
  const device = await connectClient(t, url, { username: 'device', password: 'secret' })
  await t.rejects(device.messages('up/#'))
  const downs = await device.messages('down/#', { qos: 1 })
  await device.client.publishAsync('up/1', '', { qos: 1 })
  await app.mqtt.publish('down/1', '', { qos: 1 })
  await downs.first(1)
  await waitFor(() => ups.length === 2, 'both')
  t.strictSame(ups.sort(), ['down/1', 'up/1'])
  t.notMatch(logger.text(), /secret|wrong/)
})

t.test('a broker that cannot start fails ready', async t => {
  const first = await buildApp(t, { embedded: { port: 0 } })
  await first.app.ready()
  const { port } = first.app.mqtt.embedded!.address()!
  const second = await buildApp(t, { embedded: { port } })
  await t.rejects(async () => { await second.app.ready() }, { code: 'FST_MQTT_EMBEDDED' })
  await t.rejects(buildApp(t, { embedded: { host: '0.0.0.0', port: 0 } }), { code: 'FST_MQTT_OPTIONS', message: /host/ })
})
