import { AsyncLocalStorage } from 'node:async_hooks'
import type { FastifyInstance } from 'fastify'
import t, { type Test } from 'tap'
import multimqtt, { type HandleEvent, type MqttPluginOptions } from '../../lib/index.ts'
import { Gates } from '../faults/gates.ts'
import { buildApp, connect } from '../support/app.ts'
import { waitFor } from '../support/events.ts'
import { handleChannel, recordHandling, type Told } from './record.ts'

/* docs/observability.md: one trace for each message and route, from its first hook until it is settled. */

const SYNC = ['start', 'end']
const ASYNC = ['start', 'end', 'asyncStart', 'asyncEnd']

async function build (t: Test, options: MqttPluginOptions = {}): Promise<{ app: FastifyInstance, told: Told<HandleEvent> }> {
  const { app } = await buildApp(t, { connect: false, ...options })
  app.mqtt.setErrorHandler(() => {})
  return { app, told: recordHandling(t) }
}

/** What a trace was in the end; without the message, whose dump would be endless. */
function summary ({ byEvent }: Told<HandleEvent>): object[] {
  return byEvent().map(({ names, event: { message, ...rest } }) => ({ names, topic: message.topic, ...rest }))
}

const turn = (): Promise<void> => new Promise(resolve => { setImmediate(resolve) })

t.test('a handler that waits for nothing, and one that does', async t => {
  const { app, told } = await build(t)
  await app.register(multimqtt, { connect: false, namespace: 'plant' })
  const { plant } = app.mqtt as unknown as { plant: FastifyInstance['mqtt'] }
  plant.topic('sync/<int:n>', { name: 'first' }, ({ params }) => params.n)
  plant.topic('async/<int:n>', async ({ params }) => { await turn(); return params.n })
  await plant.inject({ topic: 'sync/1' })
  await plant.inject({ topic: 'async/2' })
  app.mqtt.topic('#', () => 3)
  await app.mqtt.inject({ topic: 'x' })
  t.strictSame(summary(told), [
    { names: SYNC, topic: 'sync/1', namespace: 'plant', route: 'sync/<int:n>', name: 'first', attempts: 1, async: false, result: 1, error: undefined, reasonCode: 0 },
    { names: ASYNC, topic: 'async/2', namespace: 'plant', route: 'async/<int:n>', name: undefined, attempts: 1, async: true, result: 2, error: undefined, reasonCode: 0 },
    { names: SYNC, topic: 'x', namespace: undefined, route: '#', name: undefined, attempts: 1, async: false, result: 3, error: undefined, reasonCode: 0 }
  ])
})

t.test('what is known when', async t => {
  const { app } = await buildApp(t, { connect: false })
  const seen: unknown[] = []
  recordHandling(t, (name, { result, error, reasonCode, attempts, async }) => { seen.push([name, { result, error: error?.message, reasonCode, attempts, async }]) })
  app.mqtt.setErrorHandler(async () => { seen.push('error handler') })
  app.mqtt.addHook('onHandled', async () => { seen.push('onHandled') })
  app.mqtt.topic('good', () => 'x')
  app.mqtt.topic('bad', () => { throw new Error('no') })
  await app.mqtt.inject({ topic: 'good' })
  t.strictSame(seen.splice(0), [
    ['start', { result: undefined, error: undefined, reasonCode: undefined, attempts: 0, async: false }],
    'onHandled',
    ['end', { result: 'x', error: undefined, reasonCode: undefined, attempts: 1, async: true }],
    ['asyncStart', { result: 'x', error: undefined, reasonCode: 0, attempts: 1, async: true }],
    ['asyncEnd', { result: 'x', error: undefined, reasonCode: 0, attempts: 1, async: true }]
  ], 'hooks belong to it')
  await app.mqtt.inject({ topic: 'bad' })
  t.strictSame(seen.slice(1), [
    ['error', { result: undefined, error: 'no', reasonCode: undefined, attempts: 1, async: false }],
    'error handler',
    ['end', { result: undefined, error: 'no', reasonCode: undefined, attempts: 1, async: true }],
    ['asyncStart', { result: undefined, error: 'no', reasonCode: 0x83, attempts: 1, async: true }],
    ['asyncEnd', { result: undefined, error: 'no', reasonCode: 0x83, attempts: 1, async: true }]
  ], 'the channel is told before the error handler')
})

t.test('failures: thrown, rejected, of a hook, of a body, of time', async t => {
  const { app, told } = await build(t)
  app.mqtt.topic('throws', () => { throw new Error('thrown') })
  app.mqtt.topic('rejects', async () => { await turn(); throw new Error('rejected') })
  app.mqtt.topic('hook', { preHandler: () => { throw new Error('hook') } }, () => {})
  app.mqtt.topic('body', { parse: 'json' }, ({ body }) => body)
  app.mqtt.topic('slow', { handlerTimeout: 10 }, () => new Promise(() => {}))
  app.mqtt.topic('text', () => { throw 'a string' }) // eslint-disable-line no-throw-literal
  for (const topic of ['throws', 'rejects', 'hook', 'body', 'slow', 'text']) await app.mqtt.inject({ topic, payload: '{', qos: 1 })
  const sync = ['start', 'error', 'end']
  const later = ['start', 'end', 'error', 'asyncStart', 'asyncEnd']
  t.match(told.byEvent().map(({ names, event }) => [event.route, names, event.error, event.reasonCode]), [
    ['throws', sync, { message: 'thrown' }, 0x83],
    ['rejects', later, { message: 'rejected' }, 0x83],
    ['hook', sync, { message: 'hook' }, 0x83],
    ['body', sync, { code: 'FST_MQTT_INVALID_BODY' }, 0x99],
    ['slow', later, { code: 'FST_MQTT_HANDLER_TIMEOUT' }, 0x83],
    ['text', sync, Error, 0x83]
  ])
})

t.test('retries are one trace; only the last failure is its error', async t => {
  const { app, told } = await build(t)
  let calls = 0
  app.mqtt.topic('n/<int:fails>', { retry: { attempts: 2, delay: 0 } }, ({ params }) => {
    if (calls++ < params.fails) throw new Error(`call ${calls}`)
    return 'done'
  })
  for (const fails of [0, 2, 9]) {
    calls = 0
    await app.mqtt.inject({ topic: `n/${fails}` })
  }
  t.match(summary(told), [
    { names: SYNC, attempts: 1, error: undefined, result: 'done' },
    { names: ASYNC, attempts: 3, error: undefined, result: 'done', reasonCode: 0 },
    { names: ['start', 'end', 'error', 'asyncStart', 'asyncEnd'], attempts: 3, error: { message: 'call 3' }, result: undefined, reasonCode: 0x83 }
  ])
})

t.test('each route has its own; a message without a route has one; patterns tell the mqttPrefix', async t => {
  const { app, told } = await build(t, { prefix: 'plant' })
  app.mqtt.topic('a/+', () => 1)
  app.mqtt.topic('a/#', () => 2)
  await app.register(async child => { child.mqtt.topic('door', () => 3) }, { mqttPrefix: 'rooms/<int:room>' })
  for (const topic of ['a/b', 'rooms/7/door', 'nowhere']) await app.mqtt.inject({ topic })
  t.match(told.byEvent().map(({ event: { route, result } }) => [route, result]), [['a/+', 1], ['a/#', 2], ['rooms/<int:room>/door', 3], [undefined, undefined]])
  t.equal(told.events.at(-1)!.message.route, undefined)
})

t.test('a store that is bound to it is current in all that belongs to the message, and in nothing else', async t => {
  const { app } = await build(t)
  const store = new AsyncLocalStorage<unknown>()
  handleChannel.start.bindStore(store, ({ message }) => message.text())
  t.after(() => { handleChannel.start.unbindStore(store) })
  const seen: string[] = []
  const note = (where: string): void => { seen.push(`${where} ${String(store.getStore())}`) }
  const gates = new Gates()
  app.mqtt.addHook('onMessage', async () => { await turn(); note('onMessage') })
  app.mqtt.addHook('onHandled', () => { note('onHandled') })
  app.mqtt.setErrorHandler(async () => { await turn(); note('error handler') })
  let failed = false
  app.mqtt.topic('a', { retry: { attempts: 1, delay: 0 } }, async message => {
    note('handler')
    if (message.text() === 'second' && !failed) { failed = true; throw new Error('again') }
    await gates.wait(message.text())
    note('handler')
  })
  app.mqtt.topic('b', () => { note('handler'); throw new Error('no') })
  // The second waits for the first, and begins where the first has ended.
  const injected = ['first', 'second'].map(payload => app.mqtt.inject({ topic: 'a', payload }))
  await gates.entered('first')
  gates.open('first')
  await gates.entered('second')
  gates.open('second')
  await Promise.all(injected)
  t.strictSame(seen.splice(0), [
    'onMessage first', 'handler first', 'handler first', 'onHandled first',
    'onMessage second', 'handler second', 'handler second', 'handler second', 'onHandled second'
  ])
  await app.mqtt.inject({ topic: 'b', payload: 'third' })
  t.strictSame(seen, ['onMessage third', 'handler third', 'error handler third'])
  t.equal(store.getStore(), undefined)
})

t.test('closing interrupts: it ends, and nobody has been told anything', async t => {
  const { app, told } = await build(t)
  const gates = new Gates()
  app.mqtt.topic('a', async ({ signal }) => {
    void gates.wait('a')
    await new Promise<void>(resolve => { signal.addEventListener('abort', () => { resolve() }) })
    throw signal.reason
  })
  const injected = app.mqtt.inject({ topic: 'a', qos: 1 })
  await gates.entered('a')
  await app.close()
  await injected.catch(() => {})
  t.match(summary(told), [{ names: ASYNC, result: undefined, error: undefined, reasonCode: undefined }])
})

t.test('with nobody there, nothing is made, also for what somebody begins to watch half way', async t => {
  const { app } = await buildApp(t, { connect: false })
  const gates = new Gates()
  app.mqtt.topic('a', async message => { await gates.wait(message.text()) })
  let calls = 0
  Object.assign(handleChannel.start, { runStores: () => { calls++ } })
  const first = app.mqtt.inject({ topic: 'a', payload: 'first' })
  await gates.entered('first')
  Reflect.deleteProperty(handleChannel.start, 'runStores')
  t.equal(calls, 0)
  const told = recordHandling(t)
  gates.open('first')
  await first
  t.strictSame(told.names, [])
})

t.test('through a broker', async t => {
  const { app } = await buildApp(t, { embedded: true })
  const told = recordHandling(t)
  app.mqtt.topic('a/<int:n>', { qos: 1 }, async ({ params }) => params.n)
  await connect(app)
  await Promise.all([1, 2, 3].map(n => app.mqtt.publish(`a/${n}`, n, { qos: 1 })))
  await waitFor(() => told.events.length >= 12, 'the last of three messages')
  t.match(told.byEvent().map(({ names, event }) => [names, event.result, event.route]), [1, 2, 3].map(n => [ASYNC, n, 'a/<int:n>']))
  t.comment(`${told.events.length} events of 3 messages`)
})
