import type { FastifyInstance } from 'fastify'
import t, { type Test } from 'tap'
import type { MqttHooks } from '../../lib/index.ts'
import { buildApp, connect } from '../support/app.ts'
import { waitFor } from '../support/events.ts'

/* Hooks, in the order that docs/hooks.md draws. */

async function build (t: Test): Promise<{ app: FastifyInstance, seen: string[], errors: () => unknown[] }> {
  const { app, logger } = await buildApp(t, { connect: false })
  return { app, seen: [], errors: () => logger.lines.filter(({ level }) => level === 'error') }
}

const turn = (): Promise<void> => new Promise(resolve => { setImmediate(resolve) })

for (const how of ['sync', 'async'] as const) {
  /** Notes that it was called, at once or a turn later. */
  const note = (seen: string[], what: string) => how === 'sync'
    ? () => { seen.push(what) }
    : async () => { await turn(); seen.push(what) }

  t.test(`${how}: plugin, scope and route, in order; a message without a route`, async t => {
    const { app, seen } = await build(t)
    for (const name of ['onMessage', 'preHandler', 'onHandled'] as const) app.mqtt.addHook(name, note(seen, `root ${name}`))
    await app.register(async child => {
      child.mqtt.topic('a', { preHandler: [note(seen, 'route preHandler 1'), note(seen, 'route preHandler 2')] }, note(seen, 'handler'))
      // Later than the route, and for it all the same.
      for (const name of ['onMessage', 'preHandler', 'onHandled'] as const) child.mqtt.addHook(name, note(seen, `child ${name}`))
    })
    await app.register(async sibling => { sibling.mqtt.addHook('onMessage', note(seen, 'sibling')) })
    await app.mqtt.inject({ topic: 'a' })
    t.strictSame(seen.splice(0), [
      'root onMessage', 'child onMessage', 'root preHandler', 'child preHandler', 'route preHandler 1', 'route preHandler 2', 'handler', 'root onHandled', 'child onHandled'
    ])
    await app.mqtt.inject({ topic: 'nowhere' })
    t.strictSame(seen, ['root onMessage', 'root onHandled'], 'no route, so nothing to prepare')
  })

  t.test(`${how}: a hook that throws is the failure of its message, and of no other`, async t => {
    for (const name of ['onMessage', 'preHandler'] as const) {
      const { app, seen } = await build(t)
      app.mqtt.addHook('onError', note(seen, 'root onError'))
      app.mqtt.setErrorHandler(note(seen, 'error handler'))
      app.mqtt.topic('a/+', { onError: note(seen, 'route onError') }, note(seen, 'handler'))
      const refuse = (message: { topic: string }): void => { if (message.topic === 'a/bad') throw new Error('not you') }
      app.mqtt.addHook(name, how === 'sync' ? refuse : async message => { await turn(); refuse(message) })
      t.match(await app.mqtt.inject({ topic: 'a/bad', qos: 1 }), { error: { message: 'not you' }, acked: true, reasonCode: 0x83, results: [undefined] })
      t.strictSame(seen.splice(0), ['root onError', 'route onError', 'error handler'])
      t.match(await app.mqtt.inject({ topic: 'a/good', qos: 1 }), { error: undefined, reasonCode: 0 })
      t.strictSame(seen, ['handler'])
    }
  })

  t.test(`${how}: what is thrown in hooks that only watch is logged`, async t => {
    const { app, seen, errors } = await build(t)
    const fail = how === 'sync' ? () => { throw new Error('watcher') } : async () => { await turn(); throw new Error('watcher') }
    for (const name of ['onHandled', 'onError'] as const) {
      app.mqtt.addHook(name, fail)
      app.mqtt.addHook(name, note(seen, `second ${name}`))
    }
    app.mqtt.topic('good', () => 1)
    app.mqtt.topic('bad', () => { throw new Error('handler') })
    t.match(await app.mqtt.inject({ topic: 'good' }), { results: [1], error: undefined, reasonCode: 0 })
    t.match(await app.mqtt.inject({ topic: 'bad' }), { error: { message: 'handler' }, reasonCode: 0x83 })
    t.strictSame(seen, ['second onHandled', 'second onError'])
    t.equal(errors().length, 3, 'each hook, and the failure itself')
  })
}

t.test('onHandled gets what the handlers returned; `this` is the instance of the route', async t => {
  const { app } = await build(t)
  app.decorate('where', 'root')
  const seen: unknown[] = []
  const where = (instance: FastifyInstance): string => (instance as unknown as { where: string }).where
  app.mqtt.addHook('onMessage', function () { seen.push(where(this)) })
  app.mqtt.addHook('onHandled', function (message, result) { seen.push([message.topic, result]) })
  await app.register(async child => {
    ;(child as unknown as { where: string }).where = 'child'
    child.mqtt.topic('a', function () { return where(this) })
  })
  app.mqtt.topic('b', async () => 'b')
  await app.mqtt.inject({ topic: 'a' })
  await app.mqtt.inject({ topic: 'b' })
  t.strictSame(seen, ['child', ['a', 'child'], 'root', ['b', 'b']])
})

t.test('each route has its own way through the hooks', async t => {
  const { app, seen } = await build(t)
  app.mqtt.addHook('onMessage', message => { seen.push(message.route!.name!) })
  app.mqtt.topic('a', { name: 'one' }, () => {})
  app.mqtt.topic('+', { name: 'two' }, () => {})
  await app.mqtt.inject({ topic: 'a' })
  t.strictSame(seen, ['one', 'two'])
})

t.test('a hook whose time is up, and that goes on all the same', async t => {
  const { app, seen } = await build(t)
  let goOn!: () => void
  const gate = new Promise<void>(resolve => { goOn = resolve })
  app.mqtt.topic('slow', { handlerTimeout: 20, preHandler: async () => { await gate } }, () => { seen.push('handler') })
  t.match(await app.mqtt.inject({ topic: 'slow' }), { error: { code: 'FST_MQTT_HANDLER_TIMEOUT' } })
  goOn()
  await turn()
  t.strictSame(seen, [], 'the message is over')
})

t.test('the connection, for every scope', async t => {
  const { app } = await buildApp(t, { embedded: true })
  const seen: unknown[] = []
  app.mqtt.addHook('onConnect', function (info) { seen.push(['connect', info.protocolVersion, info.sessionPresent, this === app]) })
  app.mqtt.addHook('onConnect', () => { throw new Error('nobody minds') })
  app.mqtt.addHook('onConnect', async () => { throw new Error('nobody minds') })
  await app.register(async child => {
    child.mqtt.addHook('onSubscribe', function (granted) { seen.push(['subscribe', granted, this === child]) })
    child.mqtt.addHook('onUnsubscribe', filter => { seen.push(['unsubscribe', filter]) })
    child.mqtt.addHook('onDisconnect', error => { seen.push(['disconnect', error === undefined]) })
  })
  const route = app.mqtt.topic('a/<int:n>', { qos: 1 })
  await connect(app)
  t.strictSame(seen.splice(0), [['connect', 4, false, true], ['subscribe', { filter: 'a/+', qos: 1 }, true]])
  await route.remove()
  await waitFor(() => seen.length > 0, 'UNSUBACK')
  t.strictSame(seen.splice(0), [['unsubscribe', 'a/+']])
  app.mqtt.client.stream.destroy(new Error('cut'))
  await waitFor(() => seen.length >= 2, 'a second connection')
  t.strictSame(seen.splice(0), [['disconnect', false], ['connect', 4, false, true]])
  await app.close()
  t.strictSame(seen, [['disconnect', true]])
})

t.test('what is no hook', async t => {
  const { app } = await build(t)
  t.throws(() => app.mqtt.addHook('onRequest' as keyof MqttHooks, () => {}), { code: 'FST_MQTT_OPTIONS' })
  t.throws(() => app.mqtt.addHook('toString' as keyof MqttHooks, () => {}), { code: 'FST_MQTT_OPTIONS' })
  t.throws(() => app.mqtt.addHook('onMessage', 'x' as never), { code: 'FST_MQTT_OPTIONS' })
  for (const preHandler of ['x', [1], null] as never[]) t.throws(() => app.mqtt.topic('a', { preHandler }), { code: 'FST_MQTT_OPTIONS' })
})
