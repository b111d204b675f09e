import Fastify, { type FastifyBaseLogger, type FastifyInstance } from 'fastify'
import t from 'tap'
import multimqtt, { defineTopic, topic, type Message, type Route } from '../../lib/index.ts'
import { buildApp, connect, live } from '../support/app.ts'
import { waitFor, withinTime } from '../support/events.ts'
import { recordingLogger } from '../support/logger.ts'

t.test('handlers get the instance that declared them', async t => {
  const { app } = await buildApp(t, { embedded: true })
  const seen: Array<[string, unknown]> = []
  app.decorate('flavour', 'root')
  app.mqtt.topic('root', { qos: 1 }, function () { seen.push(['root', (this as unknown as { flavour: string }).flavour]) })
  await app.register(async child => {
    child.decorate('inner', 'child')
    child.mqtt.topic('child', { qos: 1 }, function () { seen.push(['child', (this as unknown as { inner: string }).inner]) })
    t.not(child.mqtt, app.mqtt)
    t.equal(child.mqtt, child.mqtt)
  })
  await connect(app)
  await app.mqtt.publish('root', '', { qos: 1 })
  await app.mqtt.publish('child', '', { qos: 1 })
  await waitFor(() => seen.length === 2, 'both')
  t.strictSame(seen, [['root', 'root'], ['child', 'child']])
})

t.test('error handlers are encapsulated, sync and async; the default logs', async t => {
  const { app, logger } = await buildApp(t, { embedded: true })
  const handled: string[] = []
  app.mqtt.topic('plain', { qos: 1 }, () => { throw new Error('nobody but the log') })
  await app.register(async child => {
    child.mqtt.setErrorHandler(function (error, message) {
      t.equal(this, child)
      handled.push(`${message.topic}: ${error.message}`)
    })
    child.mqtt.topic('throws', { qos: 1 }, () => { throw new Error('sync') })
    child.mqtt.topic('rejects', { qos: 1 }, async () => { throw new Error('async') })
    await child.register(async grandchild => {
      grandchild.mqtt.topic('inherits', { qos: 2 }, () => { throw new Error('inherited') })
      grandchild.mqtt.topic('odd', { qos: 1 }, () => { throw 'no error' }) // eslint-disable-line no-throw-literal
    })
  })
  await app.register(async child => {
    child.mqtt.setErrorHandler(async () => { throw new Error('handler of errors') })
    child.mqtt.topic('worse', { qos: 1 }, () => { throw new Error('first') })
  })
  await connect(app)
  for (const topic of ['plain', 'throws', 'rejects', 'inherits', 'odd', 'worse']) await app.mqtt.publish(topic, '', { qos: 1 })
  await waitFor(() => app.mqtt.status().counters.failed === 6 && app.mqtt.status().inbox.messages === 0, 'six failures')
  t.strictSame(handled, ['throws: sync', 'rejects: async', 'inherits: inherited', 'odd: A handler threw string, not an Error'])
  t.match(logger.text(), /nobody but the log/)
  t.match(logger.text(), /handler of errors/)
  t.equal(app.mqtt.connected, true)
})

t.test('names: given, taken from the handler, and what topicFor says of others', async t => {
  const { app } = await buildApp(t, { connect: false })
  function onLamp (): void {}
  const byHandler = app.mqtt.topic('lamp/<int:n>', onLamp)
  app.mqtt.topic('number/<int:n>', { name: 'number' }, () => {})
  t.equal(byHandler.name, 'onLamp')
  t.equal(app.mqtt.topicFor('onLamp', { n: 1 }), 'lamp/1')
  t.throws(() => app.mqtt.topic('x', { name: 'number' }), { code: 'FST_MQTT_ROUTE_DUPLICATE', message: /"number".*number\/<int:n>/ })
  t.throws(() => app.mqtt.topicFor('numbr', { n: 1 }), { code: 'FST_MQTT_ROUTE_UNKNOWN', message: /did you mean "number"/ })
  t.throws(() => app.mqtt.topicFor('__proto__'), { code: 'FST_MQTT_ROUTE_UNKNOWN' })
  const second = app.mqtt.topic('lamp2/<int:n>', onLamp)
  t.throws(() => app.mqtt.topicFor('onLamp', { n: 1 }), { code: 'FST_MQTT_ROUTE_UNKNOWN', message: /Several routes/ })
  t.equal(byHandler.name, undefined)
  await second.remove()
  t.equal(app.mqtt.topicFor('onLamp', { n: 1 }), 'lamp/1')
  t.throws(() => app.mqtt.topicFor('number', { n: 'a/b' }), { code: 'FST_MQTT_PARAM', message: /n/ })
  t.throws(() => app.mqtt.topicFor('number', {}), { code: 'FST_MQTT_PARAM' })
  const anonymous = app.mqtt.topic('x', () => {})
  t.equal(anonymous.name, undefined)
})

t.test('bad routes throw where they are declared, and leave nothing behind', async t => {
  const { app } = await buildApp(t, { connect: false })
  t.throws(() => app.mqtt.topic('a/<int:n', () => {}), { code: 'FST_MQTT_PATTERN', message: /\^/ })
  t.throws(() => app.mqtt.topic('a', { qos: 5 } as never), { code: 'FST_MQTT_OPTIONS', message: /^qos/ })
  t.throws(() => app.mqtt.topic('a', { nolocal: true } as never), { code: 'FST_MQTT_OPTIONS', message: /^nolocal: unknown/ })
  t.throws(() => app.mqtt.topic('a', { group: 'a/b' }), { code: 'FST_MQTT_OPTIONS' })
  t.throws(() => app.mqtt.topic('a', 'handler' as never), { code: 'FST_MQTT_OPTIONS' })
  t.throws(() => app.mqtt.topic('a', {}, 'handler' as never), { code: 'FST_MQTT_OPTIONS' })
  t.throws(() => app.mqtt.controller({}), { code: 'FST_MQTT_OPTIONS' })
  app.mqtt.topic('flags', { noLocal: true })
  t.throws(() => app.mqtt.topic('flags', { noLocal: false }), { code: 'FST_MQTT_OPTIONS', message: /noLocal/ })
  t.strictSame(app.mqtt.subscriptions.map(({ filter }) => filter), ['flags'])
  await t.rejects(app.mqtt.subscribe('a/#/b'), { code: 'FST_MQTT_PATTERN' })
})

t.test('several handlers in order, added and removed; routes come and go at any time', async t => {
  const { app } = await buildApp(t, { embedded: true })
  const order: string[] = []
  const route = app.mqtt.route({ topic: 'r', qos: 1, config: { some: 'thing' }, handler: async () => { await Promise.resolve(); order.push('first') } })
  const second = (message: Message): void => { order.push('second'); t.strictSame(message.route!.config, { some: 'thing' }) }
  route.onMessage(second)
  await connect(app)
  t.strictSame(await route.subscribed, { filter: 'r', qos: 1 })
  await app.mqtt.publish('r', '', { qos: 1 })
  await waitFor(() => order.length === 2, 'both')
  t.strictSame(order, ['first', 'second'])
  route.onMessage(second, { remove: true })
  await app.mqtt.publish('r', '', { qos: 1 })
  await waitFor(() => order.length === 3, 'the first alone')

  const other = app.mqtt.topic('r', { qos: 2 }, () => { order.push('other') })
  await live(app)
  t.strictSame(app.mqtt.subscriptions, [{ filter: 'r', qos: 2, granted: 2, status: 'active' }], 'one subscription for both')
  await route.remove()
  await app.mqtt.publish('r', '', { qos: 1 })
  await waitFor(() => order.includes('other'), 'the other')
  await other.remove()
  t.strictSame(app.mqtt.subscriptions, [])
  await app.mqtt.publish('r', '', { qos: 1 })
  t.equal(app.mqtt.status().counters.received, 3)
})

t.test('a publish does not overtake the subscription of a route declared before it', async t => {
  const { app } = await buildApp(t, { embedded: true })
  await connect(app)
  const seen: string[] = []
  for (let i = 0; i < 20; i++) {
    app.mqtt.topic(`late/${i}`, { qos: 1 }, message => { seen.push(message.topic) })
    void app.mqtt.publish(`late/${i}`, '', { qos: (i % 3) as 0 | 1 | 2 })
  }
  await waitFor(() => seen.length === 20, 'all of them')
})

t.test('a controller: methods with @topic, their own this, typed definitions', async t => {
  const alarm = defineTopic('alarm/<any(low,high):level>/<int:n>', { name: 'alarm' })
  class Devices {
    readonly seen: string[] = []
    readonly app: FastifyInstance
    constructor (app: FastifyInstance) { this.app = app }

    @topic('device/<int:n>', { qos: 1 })
    async onDevice (message: Message<'device/<int:n>'>): Promise<void> {
      this.seen.push(`device ${message.params.n + 1}`)
    }

    @topic(alarm, { qos: 1 })
    @topic('alarm', { qos: 1, name: 'any' })
    onAlarm (message: Message<typeof alarm> | Message<'alarm'>): void {
      this.seen.push(message.topic)
    }
  }
  class More extends Devices {
    @topic('more', { qos: 1 })
    onMore (): void { this.seen.push('more') }

    override async onDevice (message: Message<'device/<int:n>'>): Promise<void> {
      this.seen.push('overridden')
      await super.onDevice(message)
    }
  }
  const { app } = await buildApp(t, { embedded: true })
  const devices = new More(app)
  const routes: Route[] = app.mqtt.controller(devices)
  t.equal(routes.length, 4)
  await connect(app)
  t.equal(app.mqtt.topicFor('onDevice', { n: 4 }), 'device/4')
  t.equal(app.mqtt.topicFor(alarm, { level: 'high', n: 2 }), 'alarm/high/2')
  await app.mqtt.publish('device/4', '', { qos: 1 })
  await app.mqtt.publish(alarm, { level: 'low', n: 1 }, 'payload', { qos: 1 })
  await app.mqtt.publish('more', '', { qos: 1 })
  await waitFor(() => devices.seen.length === 4, 'all')
  t.strictSame(devices.seen, ['overridden', 'device 5', 'alarm/low/1', 'more'])
})

t.test('message.log has route and topic, and never the payload', async t => {
  const logger = recordingLogger()
  const children: unknown[] = []
  logger.child = ((bindings: unknown) => { children.push(bindings); return logger }) as typeof logger.child
  const app = Fastify({ loggerInstance: logger as FastifyBaseLogger })
  t.after(() => app.close())
  await app.register(multimqtt, { embedded: true })
  const logged = new Promise<void>(resolve => app.mqtt.topic('log/<int:n>', { name: 'logs', qos: 1 }, message => {
    message.log.info('here')
    resolve()
  }))
  await connect(app)
  await app.mqtt.publish('log/1', 'top secret', { qos: 1 })
  await withinTime(logged, 'the handler')
  t.ok(children.some(bindings => JSON.stringify(bindings) === JSON.stringify({ route: 'logs', topic: 'log/1' })))
  t.notMatch(logger.text(), /top secret/)
})

t.test('handlerTimeout fails the message and aborts its signal', async t => {
  const { app } = await buildApp(t, { embedded: true })
  const errors: unknown[] = []
  app.mqtt.setErrorHandler(error => { errors.push(error) })
  let aborted: unknown
  app.mqtt.topic('slow', { qos: 1, handlerTimeout: 20 }, message => new Promise(() => {
    message.signal.addEventListener('abort', () => { aborted = message.signal.reason })
  }))
  await connect(app)
  await app.mqtt.publish('slow', '', { qos: 1 })
  await waitFor(() => errors.length === 1, 'the timeout')
  t.match(errors[0], { code: 'FST_MQTT_HANDLER_TIMEOUT' })
  t.equal(aborted, errors[0])
})

t.test('an error handler that never ends holds no acknowledgement for longer than handlerTimeout', async t => {
  const { app, logger } = await buildApp(t, { embedded: true, handlerTimeout: 20 })
  app.mqtt.setErrorHandler(() => new Promise(() => {}))
  const got: string[] = []
  app.mqtt.topic('a/<name>', { qos: 1, order: 'none' }, ({ params }) => {
    got.push(params.name)
    if (params.name === 'bad') throw new Error('bad')
  })
  app.mqtt.setNotFoundHandler(() => new Promise(() => {}))
  await connect(app)
  await app.mqtt.subscribe('elsewhere')
  for (const topic of ['a/bad', 'elsewhere', 'a/good']) await app.mqtt.publish(topic, '', { qos: 1 })
  await waitFor(() => app.mqtt.status().counters.received === 3 && app.mqtt.status().inbox.messages === 0, 'an empty inbox')
  t.strictSame(got, ['bad', 'good'])
  t.match(logger.text(), /The error handler of \\"a\/<name>\\" took longer than 20 ms/)
})

t.test('printTopics draws the tree', async t => {
  const { app } = await buildApp(t, { connect: false, prefix: 'p' })
  app.mqtt.topic('a/<int:n>', { name: 'number' }, () => {})
  app.mqtt.topic('a/b', () => {})
  const tree = app.mqtt.printTopics()
  for (const part of ['p', 'a', '<int:n>', 'number', 'b']) t.match(tree, part)
})

t.test('further connections hang on the first by namespace', async t => {
  const { app } = await buildApp(t, { embedded: true, prefix: 'one' })
  const plain = Fastify()
  t.after(() => plain.close())
  await t.rejects(async () => { await plain.register(multimqtt, { namespace: 'first' }) }, { code: 'FST_MQTT_OPTIONS', message: /namespace/ })
  await app.register(multimqtt, { embedded: true, prefix: 'two', namespace: 'plant2' })
  const mqtt = app.mqtt as typeof app.mqtt & { plant2: typeof app.mqtt }
  t.equal(mqtt.plant2.prefix, 'two')
  const seen: string[] = []
  await app.register(async child => {
    const second = (child.mqtt as typeof mqtt).plant2
    second.topic('x', { qos: 1 }, function (message) {
      t.equal(this, child)
      seen.push(message.absoluteTopic)
    })
  })
  await connect(app)
  await waitFor(() => mqtt.plant2.connected && mqtt.plant2.subscriptions[0]!.status === 'active', 'the second')
  await mqtt.plant2.publish('x', '', { qos: 1 })
  await app.mqtt.publish('x', '', { qos: 1 })
  await waitFor(() => seen.length === 1, 'the message')
  t.strictSame(seen, ['two/x'])
})
