import type { FastifyInstance } from 'fastify'
import type { IPublishPacket } from 'mqtt-packet'
import t, { type Test } from 'tap'
import type { Message, RetryOptions } from '../../lib/index.ts'
import { Retry } from '../../lib/routing/retry.ts'
import { liveApp } from '../faults/scripted-app.ts'
import { buildApp, connect, mosquittoSettings } from '../support/app.ts'
import { connectClient } from '../support/client.ts'
import { waitFor } from '../support/events.ts'

/* Acknowledgement: retries, error handler, dead letter, reason code. */

async function build (t: Test, options = {}): Promise<FastifyInstance> {
  const { app } = await buildApp(t, { connect: false, ...options })
  app.mqtt.setErrorHandler(() => {})
  return app
}

t.test('retries: until it succeeds, or no more often than asked for', async t => {
  const app = await build(t)
  let calls = 0
  const route = app.mqtt.topic('n/<int:fails>', { retry: { attempts: 3, delay: 1 } }, async ({ params }) => {
    if (calls++ < params.fails) throw new Error(`call ${calls}`)
    return calls
  })
  for (const [fails, expected] of [[0, 1], [1, 2], [3, 4]] as const) {
    calls = 0
    t.match(await app.mqtt.inject({ topic: route.topicFor({ fails }), qos: 1 }), { results: [expected], error: undefined, reasonCode: 0 })
  }
  calls = 0
  t.match(await app.mqtt.inject({ topic: 'n/9', qos: 1 }), { error: { message: 'call 4' }, acked: true, reasonCode: 0x83 })
  t.equal(calls, 4)
  t.match(app.mqtt.status().counters, { handled: 3, failed: 1 })
})

t.test('a retry goes on where it failed', async t => {
  const app = await build(t)
  const seen: string[] = []
  let failures = 2
  app.mqtt.addHook('onMessage', () => { seen.push('onMessage') })
  const route = app.mqtt.topic('a', { retry: { attempts: 5, delay: 0 }, preHandler: () => { seen.push('preHandler') } }, () => { seen.push('one'); return 1 })
  route.onMessage(async () => {
    seen.push('two')
    if (failures-- > 0) throw new Error('once more')
  })
  t.match(await app.mqtt.inject({ topic: 'a' }), { results: [1] })
  t.strictSame(seen, ['onMessage', 'preHandler', 'one', 'two', 'two', 'two'])
})

t.test('each attempt has its time, and a signal of its own', async t => {
  const app = await build(t)
  const signals: AbortSignal[] = []
  app.mqtt.topic('slow', { handlerTimeout: 20, retry: { attempts: 1, delay: 0 } }, async message => {
    signals.push(message.signal)
    if (signals.length === 1) await new Promise(() => {})
    return message.signal.aborted
  })
  t.match(await app.mqtt.inject({ topic: 'slow' }), { results: [false] })
  t.strictSame(signals.map(({ aborted }) => aborted), [true, false])
})

t.test('what comes behind on the same topic waits; other topics do not', async t => {
  const app = await build(t)
  const seen: string[] = []
  let failed = false
  app.mqtt.topic('a/+', { retry: { attempts: 1, delay: 30 } }, message => {
    if (message.text() === 'first' && !failed) { failed = true; throw new Error('no') }
    seen.push(message.text())
  })
  await Promise.all([['a/x', 'first'], ['a/x', 'second'], ['a/y', 'other']].map(([topic, payload]) => app.mqtt.inject({ topic: topic!, payload })))
  t.strictSame(seen, ['other', 'first', 'second'])
})

t.test('closing ends the wait, and the message is not acknowledged', async t => {
  const app = await build(t)
  let failed!: () => void
  const failure = new Promise<void>(resolve => { failed = resolve })
  app.mqtt.topic('a', { retry: { attempts: 1, delay: 60_000 } }, () => { failed(); throw new Error('no') })
  const injected = app.mqtt.inject({ topic: 'a', qos: 1 })
  await failure
  await app.close()
  t.match(await injected, { acked: false, error: undefined })
})

t.test('an invalid body is not tried again', async t => {
  const app = await build(t)
  let calls = 0
  app.mqtt.topic('a', { retry: { attempts: 3, delay: 0 }, deadLetter: 'dead' }, message => { calls++; return message.json() })
  const { error, reasonCode, published } = await app.mqtt.inject({ topic: 'a', payload: '{', qos: 1 })
  t.match(error, { code: 'FST_MQTT_INVALID_BODY' })
  t.equal(reasonCode, 0x99)
  t.equal(calls, 1)
  t.equal(published.length, 1, 'it is a dead letter, too')
})

t.test('options', async t => {
  const app = await build(t)
  const bad = [{}, null, 3, { attempts: 0 }, { attempts: 1.5 }, { attempts: 1, delay: -1 }, { attempts: 1, factor: 0.5 }, { attempts: 1, times: 2 }, { attempts: 1, delay: Infinity }]
  for (const retry of bad) t.throws(() => app.mqtt.topic('a', { retry: retry as RetryOptions }), { code: 'FST_MQTT_OPTIONS' }, JSON.stringify(retry))
  for (const deadLetter of ['', 'a/#', 'a/+', 3, 'x'.repeat(70_000)]) t.throws(() => app.mqtt.topic('a', { deadLetter: deadLetter as string }), { code: 'FST_MQTT_OPTIONS' })
})

t.test('the error handler comes first, then the dead letter, then the acknowledgement', async t => {
  const { app } = await buildApp(t, { connect: false, prefix: 'plant', protocolVersion: 5 })
  const seen: string[] = []
  app.mqtt.setErrorHandler(async () => { seen.push('error handler'); await app.mqtt.publish('told', '') })
  app.mqtt.topic('order/<int:id>', { name: 'order', deadLetter: 'dead/orders', qos: 2 }, () => { throw Object.assign(new Error('out of stock'), { code: 'E_STOCK' }) })
  app.mqtt.topic('raw', { absolute: true, deadLetter: 'dead/raw' }, () => { throw new TypeError('raw') })
  const { published, reasonCode } = await app.mqtt.inject({ topic: 'order/7', payload: '{"n":1}', qos: 2, properties: { contentType: 'application/json', userProperties: { tenant: 'x' } } })
  t.equal(reasonCode, 0x83)
  t.strictSame(seen, ['error handler'])
  t.strictSame(published.map(({ absoluteTopic }) => absoluteTopic), ['plant/told', 'plant/dead/orders'])
  const { payload, qos, retain, properties } = published[1]!
  t.strictSame({ payload: payload.toString(), qos, retain, properties: { ...properties, userProperties: { ...properties.userProperties } } }, {
    payload: '{"n":1}',
    qos: 2,
    retain: false,
    properties: {
      contentType: 'application/json',
      userProperties: { tenant: 'x', 'error-code': 'E_STOCK', 'error-message': 'out of stock', route: 'order', topic: 'plant/order/7' }
    }
  })
  const raw = await app.mqtt.inject({ topic: 'raw', absolute: true })
  t.match(raw.published, [{ absoluteTopic: 'plant/told' }, { absoluteTopic: 'dead/raw', qos: 1, properties: { userProperties: { 'error-code': 'TypeError' } } }])
})

t.test('a dead letter that fails is not buried where it came from', async t => {
  const { app, logger } = await buildApp(t, { connect: false, protocolVersion: 5 })
  app.mqtt.topic('dead/#', { deadLetter: 'dead/all' }, () => { throw new Error('again') })
  t.equal((await app.mqtt.inject({ topic: 'dead/all' })).published.length, 0)
  t.equal((await app.mqtt.inject({ topic: 'dead/other' })).published.length, 1)
  t.ok(logger.lines.some(({ line }) => line.includes('MQTT dead letter failed: it has come from there')))
})

t.test('a dead letter that cannot be published is told, and the message acknowledged', async t => {
  const { app, logger } = await buildApp(t, { connect: false, protocolVersion: 5, outbox: { maxBytes: 50 } })
  app.mqtt.topic('a', { deadLetter: 'dead' }, () => { throw new Error('no') })
  t.match(await app.mqtt.inject({ topic: 'a', qos: 1, payload: 'x'.repeat(100) }), { acked: true, reasonCode: 0x83 })
  t.ok(logger.lines.some(({ line }) => line.includes('MQTT dead letter failed')))
})

t.test('a dead letter of a message whose properties hold what publish would not send', async t => {
  const { app, broker } = await liveApp(t, {}, {}, app => {
    app.mqtt.setErrorHandler(() => {})
    app.mqtt.topic('a', { qos: 1, deadLetter: 'dead' }, () => { throw new Error('no') })
  })
  broker.last.deliver({ topic: 'a', qos: 1, messageId: 1, payload: 'x', properties: { contentType: 'text\tplain', userProperties: { 'a\nb': ['two\nlines', 'one'] } } })
  await waitFor(() => app.mqtt.status().counters.failed === 1 && app.mqtt.status().inbox.messages === 0, 'the failure')
  const letter = broker.last.received.find((packet): packet is IPublishPacket => packet.cmd === 'publish' && packet.topic === 'dead')
  t.match(letter?.properties, { contentType: 'text\ufffdplain', userProperties: { 'a\ufffdb': ['two\ufffdlines', 'one'] } })
})

for (const { name, skip, start } of mosquittoSettings()) {
  t.test(`${name}: nothing is acknowledged before its dead letter is confirmed`, { skip }, async t => {
    const { options, broker } = await start(t)
    const { app } = await buildApp(t, options)
    app.mqtt.setErrorHandler(() => {})
    app.mqtt.topic('order/<int:id>', { name: 'order', qos: 1, retry: { attempts: 2, delay: 1 }, deadLetter: 'dead' }, (message: Message) => { throw new Error(`no ${message.text()}`) })
    await connect(app)
    const { client } = await connectClient(t, broker!.url, { protocolVersion: options.protocolVersion as 4 | 5 })
    const dead: Array<{ payload: string, properties: unknown }> = []
    client.on('message', (_topic, payload, packet) => { dead.push({ payload: payload.toString(), properties: packet.properties?.userProperties }) })
    await client.subscribeAsync('dead', { qos: 1 })
    await Promise.all(Array.from({ length: 20 }, (_, i) => client.publishAsync(`order/${i}`, `é${i}`, { qos: 1 })))
    await waitFor(() => dead.length >= 20, '20 dead letters')
    const letters = dead.map(({ payload, properties }) => options.protocolVersion === 5 ? { payload, ...properties as object } : JSON.parse(payload) as object)
    const first = letters.find(letter => (letter as { payload: string }).payload === 'é3')
    if (options.protocolVersion === 5) t.match(first, { topic: 'order/3', route: 'order', 'error-code': 'Error', 'error-message': 'no é3' })
    else t.match(first, { topic: 'order/3', route: 'order', error: { code: 'Error', message: 'no é3' }, qos: 1, retain: false, encoding: 'utf8', receivedAt: Number })
    await waitFor(() => app.mqtt.status().inbox.messages === 0, 'the acknowledgements')
    t.match(app.mqtt.status().counters, { failed: 20, published: 20 })
  })
}

/** An error that throws when somebody looks at its stack, as a logger does. */
function shy (): Error {
  return Object.defineProperty(new Error('do not look'), 'stack', { get () { throw new Error('you looked') } })
}

t.test('errors that cannot be logged do not stop anything', async t => {
  const { app, logger } = await buildApp(t, { connect: false })
  const uncaught: unknown[] = []
  const onUncaught = (error: unknown): void => { uncaught.push(error) }
  process.on('unhandledRejection', onUncaught)
  t.after(() => { process.off('unhandledRejection', onUncaught) })
  logger.error = logger.warn = (first: unknown): void => { if (typeof first === 'object') void (first as { err: Error }).err.stack }
  Object.assign(logger, { child: () => logger })
  const fail = (): never => { throw shy() }
  const failLater = async (): Promise<never> => fail()
  app.mqtt.topic('plain', fail)
  app.mqtt.topic('retry', { retry: { attempts: 1, delay: 0 } }, failLater)
  app.mqtt.topic('onError', { onError: fail }, fail)
  app.mqtt.topic('onErrorLater', { onError: failLater }, failLater)
  await app.register(async scope => {
    scope.mqtt.addHook('onHandled', fail)
    scope.mqtt.topic('onHandled', () => 1)
  })
  await app.register(async scope => {
    scope.mqtt.addHook('onHandled', failLater)
    scope.mqtt.topic('onHandledLater', () => 1)
  })
  await app.register(async scope => {
    scope.mqtt.setErrorHandler(fail)
    scope.mqtt.topic('handler', fail)
  })
  for (const topic of ['plain', 'retry', 'onError', 'onErrorLater', 'onHandled', 'onHandledLater', 'handler']) {
    const { acked, reasonCode } = await app.mqtt.inject({ topic, qos: 1, properties: { responseTopic: 'me' } })
    t.strictSame({ acked, reasonCode }, { acked: true, reasonCode: topic.startsWith('onHandled') ? 0 : 0x83 }, topic)
  }
  await new Promise(resolve => { setImmediate(resolve) })
  t.strictSame(uncaught, [])
  t.equal(app.mqtt.status().inbox.running, 0)
})

t.test('dead letters that would go round in a circle end', async t => {
  const { app } = await buildApp(t, { connect: false, protocolVersion: 5 })
  app.mqtt.setErrorHandler(() => {})
  app.mqtt.topic('a', { deadLetter: 'b' }, () => { throw new Error('a') })
  app.mqtt.topic('b', { deadLetter: 'a' }, () => { throw new Error('b') })
  const [first] = (await app.mqtt.inject({ topic: 'a' })).published
  t.equal(first!.topic, 'b')
  t.strictSame((await app.mqtt.inject({ topic: 'b', properties: first!.properties })).published, [])
})

t.test('a code as long as it likes, and an emoji at its end', async t => {
  const { app } = await buildApp(t, { connect: false, protocolVersion: 5 })
  app.mqtt.setErrorHandler(() => {})
  app.mqtt.topic('a', { deadLetter: 'dead' }, () => { throw Object.assign(new Error('no'), { code: `${'x'.repeat(999)}\u{1f600}` }) })
  t.equal((await app.mqtt.inject({ topic: 'a' })).published.length, 1)
})

t.test('a thenable that gives another one has its time, too', async t => {
  const app = await build(t)
  app.mqtt.topic('a', { handlerTimeout: 20 }, () => ({ then (resolve: (value: unknown) => void) { resolve(new Promise(() => {})) } }))
  t.match(await app.mqtt.inject({ topic: 'a' }), { error: { code: 'FST_MQTT_HANDLER_TIMEOUT' } })
})

t.test('waits grow, up to what a timer can wait', async t => {
  const waits = (options: RetryOptions, ...retries: number[]): number[] => retries.map(retry => new Retry(options).wait(retry))
  t.strictSame(waits({ attempts: 9 }, 0, 1, 2, 60), [100, 200, 400, 2 ** 31 - 1])
  t.strictSame(waits({ attempts: 9, delay: 0 }, 0, 5_000), [0, 0])
  t.strictSame(waits({ attempts: 9, delay: 5, factor: 1 }, 0, 5_000), [5, 5])
})
