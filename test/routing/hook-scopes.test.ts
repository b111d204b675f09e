import type { FastifyInstance } from 'fastify'
import t from 'tap'
import type { ConnectionInfo } from '../../lib/index.ts'
import { liveApp, scriptedApp } from '../faults/scripted-app.ts'
import { buildApp } from '../support/app.ts'
import { waitFor } from '../support/events.ts'

/* Hooks: encapsulated as Fastify's, with what they are given; the defaults log. */

t.test('each hook of messages holds for its scope and those inside, not for siblings, not for the parent', async t => {
  const { app } = await buildApp(t, { connect: false })
  app.mqtt.setErrorHandler(() => {})
  const seen: string[] = []
  const hooked = (instance: FastifyInstance, name: string): void => {
    for (const hook of ['onMessage', 'preHandler', 'onHandled', 'onError'] as const) instance.mqtt.addHook(hook, () => { seen.push(`${name} ${hook}`) })
  }
  const routes = (instance: FastifyInstance, name: string): void => {
    instance.mqtt.topic(`${name}/good`, () => {})
    instance.mqtt.topic(`${name}/bad`, () => { throw new Error('no') })
  }
  await app.register(async one => {
    routes(one, 'one')
    hooked(one, 'one')
    await one.register(async inner => { routes(inner, 'inner'); hooked(inner, 'inner') })
  })
  await app.register(async two => { routes(two, 'two'); hooked(two, 'two') })
  routes(app, 'root')
  const of = async (topic: string): Promise<string[]> => {
    await app.mqtt.inject({ topic })
    return seen.splice(0)
  }
  t.strictSame(await of('root/good'), [])
  t.strictSame(await of('root/bad'), [])
  t.strictSame(await of('one/good'), ['one onMessage', 'one preHandler', 'one onHandled'])
  t.strictSame(await of('one/bad'), ['one onMessage', 'one preHandler', 'one onError'])
  t.strictSame(await of('inner/good'), ['one onMessage', 'inner onMessage', 'one preHandler', 'inner preHandler', 'one onHandled', 'inner onHandled'])
  t.strictSame(await of('inner/bad'), ['one onMessage', 'inner onMessage', 'one preHandler', 'inner preHandler', 'one onError', 'inner onError'])
  t.strictSame(await of('two/bad'), ['two onMessage', 'two preHandler', 'two onError'])
})

t.test('onConnect is told what the broker has said; filters are those of the broker', async t => {
  const seen: unknown[] = []
  let info: ConnectionInfo | undefined
  const { app } = await liveApp(t, {
    onConnect: () => ({ properties: { receiveMaximum: 7, maximumPacketSize: 5_000, maximumQoS: 1, retainAvailable: false } })
  }, { prefix: 'plant' }, app => {
    app.mqtt.addHook('onConnect', told => { info = told })
    app.mqtt.addHook('onSubscribe', granted => { seen.push(granted) })
    app.mqtt.addHook('onUnsubscribe', filter => { seen.push(filter) })
  })
  t.strictSame({ ...info }, { protocolVersion: 5, sessionPresent: false, receiveMaximum: 7, maximumPacketSize: 5_000, maximumQoS: 1, retainAvailable: false })
  const route = app.mqtt.topic('a/<int:n>', { qos: 1, group: 'crew' }, () => {})
  await route.subscribed
  await app.mqtt.subscribe('b/#')
  t.strictSame(app.mqtt.subscriptions.map(({ filter }) => filter), ['$share/crew/plant/a/+', 'plant/b/#'])
  await route.remove()
  await app.mqtt.unsubscribeAll()
  t.strictSame(seen, [{ filter: '$share/crew/plant/a/+', qos: 1 }, { filter: 'plant/b/#', qos: 0 }, '$share/crew/plant/a/+', 'plant/b/#'])
})

t.test('each hook of the connection may throw, at once or later, and nothing ends', async t => {
  const { app, broker, logger } = await scriptedApp(t, {})
  const unhandled: unknown[] = []
  const onUnhandled = (error: unknown): void => { unhandled.push(error) }
  process.on('unhandledRejection', onUnhandled)
  t.after(() => { process.off('unhandledRejection', onUnhandled) })
  const names = ['onConnect', 'onDisconnect', 'onSubscribe', 'onUnsubscribe'] as const
  const called = new Map<string, number>()
  for (const name of names) {
    app.mqtt.addHook(name, () => { throw new Error(`${name} at once`) })
    app.mqtt.addHook(name, async () => { await Promise.resolve(); throw new Error(`${name} later`) })
    app.mqtt.addHook(name, () => { called.set(name, (called.get(name) ?? 0) + 1) })
  }
  const route = app.mqtt.topic('a', { qos: 1 }, () => {})
  await app.ready()
  await route.subscribed
  await route.remove()
  broker.last.drop()
  await broker.connection(1)
  await waitFor(() => app.mqtt.connected && (called.get('onConnect') ?? 0) === 2, 'a second connection')
  await app.mqtt.publish('x', '', { qos: 1 })
  t.strictSame([...called].sort(), [['onConnect', 2], ['onDisconnect', 1], ['onSubscribe', 1], ['onUnsubscribe', 1]], 'those behind run all the same')
  for (const name of names) for (const when of ['at once', 'later']) t.match(logger.text(), `${name} ${when}`)
  t.strictSame(unhandled, [])
})

t.test('a hook that is added while a message is on its way is for the next one', async t => {
  const { app } = await buildApp(t, { connect: false })
  app.mqtt.setErrorHandler(() => {})
  for (const name of ['onMessage', 'preHandler', 'onHandled', 'onError'] as const) {
    let calls = 0
    let added = false
    const route = app.mqtt.topic('a', async () => {
      if (!added) app.mqtt.addHook(name, () => { calls++ })
      added = true
      if (name === 'onError') throw new Error('no')
    })
    await app.mqtt.inject({ topic: 'a' })
    t.equal(calls, 0, name)
    await app.mqtt.inject({ topic: 'a' })
    t.equal(calls, 1, name)
    await route.remove()
  }
})

t.test('defaults: an unmatched message is logged at debug, a failure as an error, neither with its payload', async t => {
  const { app, logger } = await buildApp(t, { connect: false })
  app.mqtt.topic('bad', () => { throw new Error('on purpose') })
  await app.mqtt.inject({ topic: 'nowhere', payload: 'top secret' })
  t.strictSame(logger.lines.filter(({ line }) => line.includes('MQTT')).map(({ level, line }) => [level, line]), [['debug', '["MQTT message without a route"]']])
  await app.mqtt.inject({ topic: 'bad', payload: 'top secret' })
  t.match(logger.lines.at(-1), { level: 'error', line: /on purpose.*MQTT handler failed/ })
  t.notMatch(logger.text(), /top secret/)
})
