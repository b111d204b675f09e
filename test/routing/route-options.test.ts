import type { FastifyInstance } from 'fastify'
import t, { type Test } from 'tap'
import type { Granted, MqttPluginOptions } from '../../lib/index.ts'
import { liveApp } from '../faults/scripted-app.ts'
import { Gates } from '../faults/gates.ts'
import { buildApp } from '../support/app.ts'

/* Route options: each with its default, and what it does to the route. */

async function build (t: Test, options: MqttPluginOptions = {}): Promise<FastifyInstance> {
  const { app } = await buildApp(t, { connect: false, ...options })
  app.mqtt.setErrorHandler(() => {})
  return app
}

t.test('without options: QoS 0, no flags, no group, the prefix, no name', async t => {
  const { app, broker } = await liveApp(t, {}, { prefix: 'plant' }, app => { app.mqtt.topic('a/<int:n>', () => {}) })
  t.match(broker.last.of('subscribe'), [{ subscriptions: [{ topic: 'plant/a/+', qos: 0, nl: false, rap: false, rh: 0 }] }])
  t.strictSame(app.mqtt.subscriptions, [{ filter: 'plant/a/+', qos: 0, granted: 0, status: 'active' }])
})

t.test('group: of the route, else the plugin\'s; false is none; outside the prefix', async t => {
  const app = await build(t, { prefix: 'plant', group: 'crew' })
  const routes = [
    app.mqtt.topic('a', () => {}), app.mqtt.topic('a', { group: 'own' }, () => {}), app.mqtt.topic('a', { group: false }, () => {}),
    app.mqtt.topic('$SYS/<path:rest>', { absolute: true }, () => {})
  ]
  t.strictSame(routes.map(({ filter }) => filter), ['$share/crew/plant/a', '$share/own/plant/a', 'plant/a', '$share/crew/$SYS/#'])
  t.strictSame(await app.mqtt.subscribe(['b', '$share/readers/c']), [{ filter: 'plant/b', qos: 0 }, { filter: '$share/readers/plant/c', qos: 0 }], 'it is for routes')
  t.match(await app.mqtt.inject({ topic: 'a' }), { matched: ['a', 'a', 'a'] }, 'topics have no group')
})

t.test('concurrency: of the route, and of all together', async t => {
  const app = await build(t, { concurrency: 3 })
  const gates = new Gates()
  app.mqtt.topic('narrow/<int:n>', { concurrency: 1 }, () => gates.wait('narrow'))
  app.mqtt.topic('wide/<int:n>', { concurrency: 10 }, () => gates.wait('wide'))
  await app.ready()
  const all = ['narrow', 'wide'].flatMap(name => [1, 2, 3, 4].map(n => app.mqtt.inject({ topic: `${name}/${n}` })))
  await gates.entered('narrow', 'wide')
  t.strictSame([gates.count('narrow'), gates.count('wide'), app.mqtt.status().inbox.running], [1, 2, 3])
  gates.open('wide')
  await Promise.all(all.slice(4))
  t.strictSame([gates.count('narrow'), app.mqtt.status().inbox.running], [1, 1], 'its own limit, although there is room')
  gates.open('narrow')
  await Promise.all(all)
  t.equal(gates.count('narrow'), 4)
})

for (const [name, plugin, route, expected] of [
  ['by default in order', {}, {}, 1], ['the plugin\'s', { order: 'none' }, {}, 3], ['the route\'s', {}, { order: 'none' }, 3], ['the route\'s, back', { order: 'none' }, { order: 'topic' }, 1]
] as const) {
  t.test(`order: ${name}`, async t => {
    const app = await build(t, plugin)
    const gates = new Gates()
    app.mqtt.topic('a', route, () => gates.wait('a'))
    await app.ready()
    const all = [1, 2, 3].map(() => app.mqtt.inject({ topic: 'a' }))
    await gates.entered('a')
    t.equal(gates.count('a'), expected)
    gates.open('a')
    await Promise.all(all)
    t.equal(gates.count('a'), 3)
  })
}

t.test('handlerTimeout: the plugin\'s, the route\'s, and 0 for none', async t => {
  const app = await build(t, { handlerTimeout: 10 })
  const gates = new Gates()
  app.mqtt.topic('plugin', () => gates.wait('never'))
  app.mqtt.topic('none', { handlerTimeout: 0 }, () => gates.wait('none'))
  const patient = app.mqtt.inject({ topic: 'none' })
  t.match(await app.mqtt.inject({ topic: 'plugin' }), { error: { code: 'FST_MQTT_HANDLER_TIMEOUT', message: /10 ms/ } })
  gates.open('none')
  t.match(await patient, { error: undefined })
})

t.test('onError of a route: one, or several in an array, behind those of its scope', async t => {
  const app = await build(t)
  const seen: string[] = []
  app.mqtt.addHook('onError', () => { seen.push('scope') })
  app.mqtt.topic('a', { onError: [() => { seen.push('one') }, async () => { await Promise.resolve(); seen.push('two') }] }, () => { throw new Error('no') })
  app.mqtt.topic('b', () => { throw new Error('no') })
  await app.mqtt.inject({ topic: 'a' })
  t.strictSame(seen.splice(0), ['scope', 'one', 'two'])
  await app.mqtt.inject({ topic: 'b' })
  t.strictSame(seen, ['scope'], 'of that route alone')
})

t.test('config: anything, and the very same', async t => {
  const app = await build(t)
  for (const config of [{ deep: [1] }, 'text', 0, null, new Map(), () => {}]) {
    const route = app.mqtt.topic('a', { config }, message => message.route!.config === config)
    t.equal(route.config, config)
    t.strictSame((await app.mqtt.inject({ topic: 'a' })).results, [true])
    await route.remove()
  }
  t.equal(app.mqtt.topic('b', () => {}).config, undefined)
})

t.test('a name that is given is nobody else\'s handler\'s', async t => {
  for (const givenFirst of [true, false]) {
    const app = await build(t)
    function lamp (): void {}
    const given = (): unknown => app.mqtt.topic('given', { name: 'lamp' }, () => {})
    if (givenFirst) given()
    const byHandler = app.mqtt.topic('handler', lamp)
    if (!givenFirst) given()
    t.equal(app.mqtt.topicFor('lamp'), 'given')
    t.equal(byHandler.name, undefined, 'that name finds another route')
    t.match(await app.mqtt.inject({ topic: 'handler' }), { matched: ['handler'] })
  }
})

t.test('a Route: pattern, filter, subscribed, topicFor; it can be removed twice', async t => {
  const app = await build(t, { prefix: 'plant' })
  const route = app.mqtt.topic('a/<int:n>', { qos: 1, name: 'a' }, () => {})
  const granted: Granted = await route.subscribed
  t.strictSame([route.name, route.pattern, route.filter, granted], ['a', 'a/<int:n>', 'plant/a/+', { filter: 'plant/a/+', qos: 1 }])
  t.strictSame([route.topicFor({ n: 4 }), route.topicFor({ n: 4 }, { absolute: true })], ['a/4', 'plant/a/4'])
  t.throws(() => route.topicFor({ n: 'x' as never }), { code: 'FST_MQTT_PARAM' })
  await Promise.all([route.remove(), route.remove()])
  t.throws(() => app.mqtt.topicFor('a', { n: 1 }), { code: 'FST_MQTT_ROUTE_UNKNOWN' })
  t.match(await app.mqtt.inject({ topic: 'a/1' }), { matched: [] })
  t.equal(app.mqtt.topic('b/<int:n>', { name: 'a' }, () => {}).name, 'a', 'the name is free again')
})

t.test('filterFor: unknown names, and definitions', async t => {
  const app = await build(t, { prefix: 'plant' })
  app.mqtt.topic('a/<path:rest>', { name: 'rest', group: 'crew' }, () => {})
  t.strictSame([app.mqtt.filterFor('rest'), app.mqtt.filterFor('rest', { absolute: true })], ['a/#', 'plant/a/#'])
  t.throws(() => app.mqtt.filterFor('rset'), { code: 'FST_MQTT_ROUTE_UNKNOWN', message: /did you mean "rest"/ })
})

t.test('what sets something gives back app.mqtt', async t => {
  const app = await build(t)
  t.equal(app.mqtt.addHook('onMessage', () => {}).setErrorHandler(() => {}).setNotFoundHandler(() => {}), app.mqtt)
  const route = app.mqtt.topic('a')
  t.equal(route.onMessage(() => {}), route)
})
