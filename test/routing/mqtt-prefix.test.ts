import type { FastifyInstance } from 'fastify'
import fp from 'fastify-plugin'
import t from 'tap'
import multimqtt, { defineTopic } from '../../lib/index.ts'
import { buildApp, connect } from '../support/app.ts'
import { waitFor } from '../support/events.ts'

t.test('mqttPrefix nests as Fastify\'s prefix does, placeholders included', async t => {
  const { app } = await buildApp(t, { embedded: true, prefix: 'plant' })
  const seen: Array<[string, unknown]> = []
  const note = (message: { topic: string, params: object }): void => { seen.push([message.topic, { ...message.params }]) }
  await app.register(async (rooms: FastifyInstance) => {
    rooms.mqtt.topic('temperature', { name: 'temperature' }, note)
    rooms.mqtt.topic('', note)
    rooms.mqtt.topic('$SYS/uptime', { absolute: true }, () => {})
    rooms.mqtt.topic(defineTopic('light/<any(on,off):state>'), note)
    await rooms.register(async (doors: FastifyInstance) => {
      doors.mqtt.topic('open', note)
    }, { mqttPrefix: 'doors/<name>', prefix: '/doors' })
    // Without a context of its own there is no prefix of its own either, as with Fastify's.
    await rooms.register(fp(async (same: FastifyInstance) => { same.mqtt.topic('same', note) }), { mqttPrefix: 'ignored' })
  }, { mqttPrefix: '/rooms/<int:room>/' })
  app.mqtt.topic('outside', note)
  await connect(app)
  t.strictSame(app.mqtt.subscriptions.map(({ filter }) => filter), [
    'plant/rooms/+/temperature', 'plant/rooms/+', '$SYS/uptime', 'plant/rooms/+/light/+', 'plant/rooms/+/doors/+/open', 'plant/rooms/+/same', 'plant/outside'
  ])
  t.equal(app.mqtt.topicFor('temperature', { room: 4 }), 'rooms/4/temperature')
  t.equal(app.mqtt.topicFor('temperature', { room: 4 }, { absolute: true }), 'plant/rooms/4/temperature')
  for (const topic of ['rooms/1/temperature', 'rooms/2', 'rooms/3/light/on', 'rooms/4/doors/front/open', 'rooms/5/same', 'outside']) await app.mqtt.publish(topic, '', { qos: 1 })
  await waitFor(() => seen.length === 6, 'all messages')
  t.strictSame(seen, [
    ['rooms/1/temperature', { room: 1 }], ['rooms/2', { room: 2 }], ['rooms/3/light/on', { room: 3, state: 'on' }],
    ['rooms/4/doors/front/open', { room: 4, name: 'front' }], ['rooms/5/same', { room: 5 }], ['outside', {}]
  ])
})

t.test('a bad mqttPrefix fails where it can be seen', async t => {
  const { app } = await buildApp(t, { connect: false })
  await t.rejects(async () => app.register(async (child: FastifyInstance) => { child.mqtt.topic('a', () => {}) }, { mqttPrefix: 'rooms/<int:' }), { code: 'FST_MQTT_PATTERN' })
  const { app: other } = await buildApp(t, { connect: false })
  await t.rejects(async () => other.register(async (child: FastifyInstance) => { child.mqtt.topic('a/<n>', () => {}) }, { mqttPrefix: 'b/<n>' }), { code: 'FST_MQTT_PATTERN', message: /two placeholders/ })
  const { app: third } = await buildApp(t, { connect: false })
  await t.rejects(async () => third.register(async () => {}, { mqttPrefix: 7 as never }), { code: 'FST_MQTT_OPTIONS' })
})

t.test('it holds for every connection', async t => {
  const { app } = await buildApp(t, { connect: false })
  await app.register(multimqtt, { namespace: 'plant2', connect: false, prefix: 'two' })
  await app.register(async (child: FastifyInstance) => {
    const second = (child.mqtt as unknown as Record<string, FastifyInstance['mqtt']>).plant2!
    child.mqtt.topic('a', () => {})
    second.topic('a', () => {})
    t.strictSame([...child.mqtt.subscriptions, ...second.subscriptions].map(({ filter }) => filter), ['x/a', 'two/x/a'])
  }, { mqttPrefix: 'x' })
})
