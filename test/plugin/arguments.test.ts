import t from 'tap'
import { topic, type MqttPluginOptions } from '../../lib/index.ts'
import { buildApp } from '../support/app.ts'

/* What JavaScript lets a caller write although the types do not. */

const { proxy: revoked, revoke } = Proxy.revocable({}, {})
revoke()
function refuse (): never { throw new Error('do not look') }
/** Each throws as soon as it is looked at. */
const throwing = [revoked, new Proxy({}, { get: refuse, has: refuse, ownKeys: refuse, getPrototypeOf: refuse }), { get topic () { return refuse() }, get qos () { return refuse() } }]
const odd: unknown[] = [...throwing, undefined, null, 0, 7, '', true, {}, [], [1], Symbol('x'), () => {}, Object.create(null), new Map(), 'a/b', 10n]

t.test('odd arguments get an error of ours, and leave nothing behind', async t => {
  const { app } = await buildApp(t, { connect: false, prefix: 'p' })
  const mqtt = app.mqtt as unknown as Record<string, (...args: unknown[]) => unknown>
  app.mqtt.topic('known/<int:n>', { name: 'known' }, () => {})
  const routes = app.mqtt.subscriptions.length
  const calls: Array<[string, (value: unknown) => unknown]> = [
    ['topic(it)', it => mqtt.topic!(it)],
    ['topic(text, it)', it => mqtt.topic!('a', it, () => {})],
    ['topic(text, {}, it)', it => mqtt.topic!('a', {}, it)],
    ['route(it)', it => mqtt.route!(it)],
    ['route({ topic: it })', it => mqtt.route!({ topic: it })],
    ['controller(it)', it => mqtt.controller!(it)],
    ['subscribe(it)', it => mqtt.subscribe!(it)],
    ['subscribe(text, it)', it => mqtt.subscribe!('a', it)],
    ['unsubscribe(it)', it => mqtt.unsubscribe!(it)],
    ['unsubscribe(text, it)', it => mqtt.unsubscribe!('a', it)],
    ['topicFor(it)', it => mqtt.topicFor!(it)],
    ['topicFor(name, it)', it => mqtt.topicFor!('known', it)],
    ['topicFor(name, params, it)', it => mqtt.topicFor!('known', { n: 1 }, it)],
    ['filterFor(it)', it => mqtt.filterFor!(it)],
    ['filterFor(name, it)', it => mqtt.filterFor!('known', it)],
    ['setErrorHandler(it)', it => mqtt.setErrorHandler!(it)],
    ['setNotFoundHandler(it)', it => mqtt.setNotFoundHandler!(it)],
    ['addHook(it)', it => mqtt.addHook!(it, () => {})],
    ['addHook(name, it)', it => mqtt.addHook!('onHandled', it)],
    ['inject(it)', it => mqtt.inject!(it)],
    ['inject({ properties: it })', it => mqtt.inject!({ topic: 'a', properties: it })],
    ['topic(text, { schema: it })', it => mqtt.topic!('a', { schema: it }, () => {})],
    ['topic(text, { retry: it })', it => mqtt.topic!('a', { retry: it }, () => {})],
    ['topic(text, { preHandler: it })', it => mqtt.topic!('a', { preHandler: it }, () => {})],
    ['attach(it)', it => mqtt.attach!(it)],
    ['publish(it)', it => mqtt.publish!(it)],
    ['publish(text, payload, it)', it => mqtt.publish!('a', '', it, 'aborted')]
  ]
  let refused = 0
  for (const [name, call] of calls) {
    for (const value of odd) {
      let result: unknown
      try {
        result = call(value)
        // Offline nothing settles by itself, and an odd value may be a good one here.
        if (!throwing.includes(result as object)) await Promise.race([result, new Promise(resolve => { setImmediate(resolve) })])
      } catch (error) {
        refused++
        const { code, message } = error as { code?: string, message: string }
        if (code === undefined || !code.startsWith('FST_MQTT_')) t.fail(`${name} with odd[${odd.indexOf(value)}], ${typeof value}: ${message}`)
      }
      // A route that was made after all.
      for (const each of [result].flat()) await (each as { remove?: () => Promise<void> } | undefined)?.remove?.()
    }
  }
  t.comment(`${refused} of ${calls.length * odd.length} calls were refused`)
  t.ok(refused > 200)
  await app.mqtt.unsubscribeAll()
  t.equal(app.mqtt.subscriptions.length, routes)
})

t.test('all or none: controller() and subscribe()', async t => {
  const { app } = await buildApp(t, { connect: false })
  class Clash {
    @topic('a/1') one (): void {}
    @topic('a/2', { name: 'taken' }) two (): void {}
  }
  app.mqtt.topic('b', { name: 'taken' }, () => {})
  t.throws(() => app.mqtt.controller(new Clash()), { code: 'FST_MQTT_ROUTE_DUPLICATE' })
  t.strictSame(app.mqtt.subscriptions.map(({ filter }) => filter), ['b'])
  app.mqtt.topic('d', { noLocal: true }, () => {})
  await t.rejects(app.mqtt.subscribe(['c', 'd']), { code: 'FST_MQTT_OPTIONS' })
  t.throws(() => app.mqtt.topic('e', { group: 'g', noLocal: true }, () => {}), { code: 'FST_MQTT_OPTIONS', message: /noLocal/ })
  await t.rejects(app.mqtt.subscribe(['f', '$share/g/f'], { noLocal: true }), { code: 'FST_MQTT_OPTIONS', message: /noLocal/ })
  t.strictSame(app.mqtt.subscriptions.map(({ filter }) => filter), ['b', 'd'])
})

t.test('a prefix that makes a topic too long', async t => {
  const { app } = await buildApp(t, { connect: false, prefix: 'p'.repeat(40_000) })
  app.mqtt.topic('a/<name>', { name: 'long' }, () => {})
  const name = 'n'.repeat(30_000)
  t.equal(app.mqtt.topicFor('long', { name }).length, 30_002)
  t.throws(() => app.mqtt.topicFor('long', { name }, { absolute: true }), { code: 'FST_MQTT_PARAM' })
})

t.test('options may be undefined, whatever the compiler is told of that', async t => {
  const options: MqttPluginOptions = { connect: false, url: undefined, clientId: undefined, tls: undefined, session: undefined, outbox: { maxBytes: undefined } }
  const { app } = await buildApp(t, options)
  t.equal(app.mqtt.state, 'idle')
  await t.rejects(buildApp(t, { connect: false, client: { properties: { bogus: 1 } } as never }), { code: 'FST_MQTT_OPTIONS', message: /client\.properties\.bogus/ })
})
