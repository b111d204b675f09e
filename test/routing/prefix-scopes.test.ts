import type { FastifyInstance } from 'fastify'
import t from 'tap'
import { defineTopic } from '../../lib/index.ts'
import { liveApp } from '../faults/scripted-app.ts'
import { buildApp, mosquittoSettings } from '../support/app.ts'
import { connectClient } from '../support/client.ts'

/* What the global prefix is put before, what mqttPrefix is put before, and what neither is. */

t.test('mqttPrefix is for routes: all else inside knows the global prefix only', async t => {
  const { app } = await buildApp(t, { connect: false, prefix: 'plant', protocolVersion: 5 })
  app.mqtt.setErrorHandler(() => {})
  const plain = defineTopic('defined/<int:n>')
  const published: string[] = []
  app.mqtt.addHook('onPublish', ({ topic }) => { published.push(topic) })
  let rooms!: FastifyInstance
  await app.register(async child => {
    rooms = child
    child.mqtt.topic('fails', { deadLetter: 'dead' }, () => { throw new Error('no') })
    child.mqtt.topic('bare', { absolute: true, deadLetter: 'dead' }, () => { throw new Error('no') })
    child.mqtt.topic(plain, { name: 'defined' }, () => {})
    await child.register(async inner => { inner.mqtt.topic('deep', { name: 'deep' }, () => {}) }, { mqttPrefix: '/doors/<name>/' })
  }, { mqttPrefix: 'rooms/<int:room>' })
  await rooms.mqtt.publish('news', '')
  await rooms.mqtt.publish(plain, { n: 4 }, '')
  await rooms.mqtt.publish('elsewhere/news', '', { absolute: true })
  await t.rejects(rooms.mqtt.request('ask', '', { timeout: 1 }), { code: 'FST_MQTT_TIMEOUT' })
  await t.rejects(rooms.mqtt.request('elsewhere/ask', '', { timeout: 1, absolute: true }), { code: 'FST_MQTT_TIMEOUT' })
  t.strictSame(published, ['plant/news', 'plant/defined/4', 'elsewhere/news', 'plant/ask', 'elsewhere/ask'])
  t.strictSame(await rooms.mqtt.subscribe(['news', '$share/g/news']), [{ filter: 'plant/news', qos: 0 }, { filter: '$share/g/plant/news', qos: 0 }])
  t.strictSame(await rooms.mqtt.subscribe('news', { absolute: true }), [{ filter: 'news', qos: 0 }])
  t.match(await rooms.mqtt.inject({ topic: 'rooms/7/fails' }), { matched: ['rooms/<int:room>/fails'], published: [{ absoluteTopic: 'plant/dead' }] })
  t.match(await rooms.mqtt.inject({ topic: 'fails' }), { matched: [] })
  t.match(await rooms.mqtt.inject({ topic: 'bare', absolute: true }), { matched: ['bare'], published: [{ absoluteTopic: 'dead' }] })
  // Names give the whole, prefixes of the scope included, to hand to publish.
  t.strictSame([rooms.mqtt.topicFor('defined', { room: 1, n: 2 }), rooms.mqtt.topicFor(plain, { n: 2 }), rooms.mqtt.topicFor('deep', { room: 1, name: 'x' })],
    ['rooms/1/defined/2', 'defined/2', 'rooms/1/doors/x/deep'])
})

t.test('at a level boundary, in all that comes in', async t => {
  const { app } = await buildApp(t, { connect: false, prefix: 'a' })
  const seen: string[] = []
  app.mqtt.setNotFoundHandler(({ topic, absoluteTopic }) => { seen.push(`${topic} ${absoluteTopic}`) })
  for (const topic of ['ab/x', 'a/x/y', 'ba/x', 'a']) await app.mqtt.inject({ topic, absolute: true })
  await app.mqtt.inject({ topic: 'a/y' })
  t.strictSame(seen.splice(0), ['ab/x ab/x', 'x/y a/x/y', 'ba/x ba/x', 'a a', 'a/y a/a/y'])
  app.mqtt.topic('#', { absolute: true, name: 'all' }, ({ topic, absoluteTopic }) => { seen.push(`${topic} ${absoluteTopic}`) })
  app.mqtt.topic('<name>', { name: 'below' }, ({ topic, absoluteTopic }) => { seen.push(`${topic} ${absoluteTopic}`) })
  t.strictSame((await app.mqtt.inject({ topic: 'ab/x', absolute: true })).matched, ['all'])
  t.strictSame((await app.mqtt.inject({ topic: 'a/x', absolute: true })).matched, ['all', 'below'])
  t.strictSame((await app.mqtt.inject({ topic: 'x' })).matched, ['all', 'below'])
  t.strictSame(seen, ['ab/x ab/x', 'a/x a/x', 'x a/x', 'a/x a/x', 'x a/x'], 'an absolute route sees both alike')
})

t.test('the will: below the prefix, or where it says when it is absolute', async t => {
  const will = { topic: 'status', payload: 'gone', qos: 1 as const }
  for (const [absolute, topic] of [[false, 'plant/status'], [true, 'status']] as const) {
    for (const given of [{ ...will, absolute }, () => ({ ...will, absolute })]) {
      const { broker } = await liveApp(t, {}, { prefix: 'plant', will: given })
      t.equal(broker.last.connect!.will!.topic, topic)
    }
  }
})

for (const { name, skip, start } of mosquittoSettings()) {
  t.test(`a shared subscription outside the prefix: ${name}`, { skip }, async t => {
    const { options, broker } = await start(t)
    const { app } = await buildApp(t, { ...options, prefix: 'plant', group: 'crew' })
    const got = new Promise<string>(resolve => app.mqtt.topic('job/<int:n>', { qos: 1 }, ({ topic, absoluteTopic }) => { resolve(`${topic} ${absoluteTopic}`) }))
    const plain = app.mqtt.topic('other', { group: false }, () => {})
    await app.ready()
    await plain.subscribed
    t.strictSame(app.mqtt.subscriptions.map(({ filter }) => filter), ['$share/crew/plant/job/+', 'plant/other'])
    await app.mqtt.topic('job/<int:n>', { group: 'crew' }, () => {}).subscribed
    const { client } = await connectClient(t, broker!.url)
    await client.publishAsync('plant/job/7', '', { qos: 1 })
    t.equal(await got, 'job/7 plant/job/7')
  })
}
