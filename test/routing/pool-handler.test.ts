import type { EventEmitter } from 'node:events'
import type { FastifyInstance } from 'fastify'
import type { Piscina } from 'piscina'
import t, { type Test } from 'tap'
import { poolHandler, type Message, type MqttError, type MqttPluginOptions, type PoolLike, type PoolTask } from '../../lib/index.ts'
import { liveApp } from '../faults/scripted-app.ts'
import { allSettings, buildApp, connect, mosquittoSettings } from '../support/app.ts'
import { connectClient } from '../support/client.ts'
import { waitFor, withinTime } from '../support/events.ts'
import { mosquittoMissing, startMosquitto } from '../support/mosquitto.ts'
import { Cell, type Described } from './fixtures/pool-tasks.ts'
import { entered, openGate, POOLS, startPool, type PoolName } from './pools.ts'

t.setTimeout(120_000)

const NAMES = Object.keys(POOLS) as PoolName[]

/** What the handler of a route returned and what failed, as the application sees it. */
interface Seen {
  results: unknown[]
  errors: MqttError[]
}

/** A route whose handler is a task, and a look at what comes of it. */
function route (app: FastifyInstance, topic: string, pool: PoolLike, name: string, options = {}): Seen {
  const seen: Seen = { results: [], errors: [] }
  const handler = poolHandler(pool, { name })
  app.mqtt.topic(topic, { qos: 2, ...options }, async message => {
    const result = await handler(message)
    seen.results.push(result)
    return result
  })
  app.mqtt.setErrorHandler(error => { seen.errors.push(error as MqttError) })
  return seen
}

/** The embedded broker, and a route on it. */
async function embedded (t: Test, pool: PoolLike, name: string, options: MqttPluginOptions = {}): Promise<Seen & { app: FastifyInstance }> {
  const { app } = await buildApp(t, { embedded: true, closeTimeout: 300, ...options })
  const seen = route(app, 'job/<int:n>', pool, name)
  await connect(app)
  return { app, ...seen }
}

/** A thread takes its time to start, and on a slow machine more than a short handlerTimeout: then the next message is tried. */
async function handlesAgain (app: FastifyInstance, { results, errors }: Seen): Promise<void> {
  for (let n = 10; results.length === 0 && n < 30; n++) {
    const before = errors.length
    await app.mqtt.publish(`job/${n}`, 'next', { qos: 1 })
    await waitFor(() => results.length + errors.length > before, 'an end of the next message')
  }
}

t.test('arguments', async t => {
  const pool = { run: async () => {} }
  for (const bad of [undefined, null, 'pool', {}, { run: 'run' }]) {
    t.throws(() => poolHandler(bad as never), { code: 'FST_MQTT_OPTIONS', message: /pool/ })
  }
  for (const bad of [null, [], 'name', { nam: 'x' }, { name: '' }, { name: 7 }]) {
    t.throws(() => poolHandler(pool, bad as never), { code: 'FST_MQTT_OPTIONS' })
  }
  for (const good of [undefined, {}, { name: undefined }, { name: 'resize' }]) t.type(poolHandler(pool, good), 'function')
  t.equal(poolHandler(pool).name, '', 'routes do not go by its name')
})

/** Compiles, and does not run: each pool and each pattern fits. */
export function types (app: FastifyInstance, pool: Piscina<PoolTask<'image/<int:id>'>, number>): void {
  app.mqtt.topic('image/<int:id>', poolHandler(pool))
  app.mqtt.topic('image/<int:id>', { qos: 1, handlerTimeout: 5 }, poolHandler(pool, { name: 'resize' }))
  app.mqtt.route({ topic: 'other/<path:rest>', handler: poolHandler(pool) })
  app.mqtt.setNotFoundHandler(poolHandler(pool))
  // @ts-expect-error not a pool
  poolHandler({ exec: () => {} })
  // @ts-expect-error unknown option
  poolHandler(pool, { filename: 'task.js' })
}

for (const name of NAMES) {
  for (const { name: broker, skip, start } of allSettings()) {
    t.test(`${name}: what the task is given, and what it returns: ${broker}`, { skip }, async t => {
      const { options } = await start(t)
      const { app } = await buildApp(t, { ...options, prefix: 'plant' })
      const { pool } = startPool(t, name)
      const handler = poolHandler(pool)
      const results: Described[] = []
      const payloads: string[] = []
      app.mqtt.topic('image/<int:id>/<size>', { qos: 2 }, async message => { results.push(await handler(message) as Described) })
        .onMessage(message => { payloads.push(message.payload.toString('latin1')) })
      await connect(app)

      const isFive = app.mqtt.protocolVersion === 5
      const properties = { contentType: 'application/json', correlationData: Buffer.from('id'), userProperties: { key: ['a', 'b'] } }
      const sent = ['{"a":[1]}', 'plain text', '', Buffer.from([0xff, 0, 1]), 'x'.repeat(200_000)]
      for (const [id, payload] of sent.entries()) {
        await app.mqtt.publish(`image/${id}/small`, payload, { qos: (id % 3) as 0 | 1 | 2, ...(isFive && { properties }) })
      }
      await waitFor(() => payloads.length === sent.length, 'all messages')

      t.strictSame(payloads.sort(), sent.map(payload => Buffer.from(payload).toString('latin1')).sort(), 'the message keeps its payload')
      for (const { keys, task, text, backing, bodyIsPayload, isBuffer } of results) {
        const { id } = task.params as { id: number }
        const payload = Buffer.from(sent[id]!)
        t.strictSame(keys, ['topic', 'params', 'payload', 'body', 'qos', 'retain', 'properties'])
        t.match(task, { topic: `image/${id}/small`, params: { id, size: 'small' }, qos: id % 3, retain: false })
        t.strictSame({ bytes: Buffer.from(task.payload), text }, { bytes: payload, text: payload.toString() })
        t.equal(isBuffer, false)
        t.strictSame(backing, { payload: payload.length, correlationData: isFive ? 2 : undefined }, 'nothing but their own bytes')
        t.equal(bodyIsPayload, id === 3)
        if (id !== 3) t.strictSame(task.body, id === 0 ? { a: [1] } : sent[id])
        if (isFive) t.match(task.properties, { contentType: 'application/json', userProperties: { key: ['a', 'b'] } })
      }
    })
  }

  for (const protocolVersion of [5, 4] as const) {
    t.test(`${name}: acknowledged when the task has ended: MQTT ${protocolVersion}`, async t => {
      const { pool, cells } = startPool(t, name, { threads: 3 })
      let seen!: Seen
      const { app, broker } = await liveApp(t, {}, { protocolVersion }, app => { seen = route(app, 'job/<int:n>', pool, 'gated') })
      const connection = broker.last
      connection.deliver(
        { topic: 'job/0', payload: '0', qos: 0 }, { topic: 'job/1', payload: '1', qos: 1, messageId: 1 }, { topic: 'job/2', payload: '2', qos: 2, messageId: 2 })
      await entered(cells, 3)
      // An acknowledgement would lie before this.
      await app.mqtt.publish('marker', '', { qos: 1 })
      t.strictSame([connection.of('puback').length, connection.of('pubrec').length, seen.results.length], [0, 0, 0])
      openGate(cells)
      t.match(await connection.until('puback'), [{ messageId: 1, reasonCode: protocolVersion === 5 ? 0 : undefined }])
      t.match(await connection.until('pubcomp'), [{ messageId: 2 }])
      t.equal(connection.of('pubrec').length, 1)
      await waitFor(() => seen.results.length === 3, 'all results')
      t.strictSame(new Set(seen.results), new Set([0, 1, 2]))
    })

    for (const qos of [1, 2] as const) {
      t.test(`${name}: a thread that dies in the middle, QoS ${qos}: MQTT ${protocolVersion}`, async t => {
        const { pool, cells } = startPool(t, name, { heap: 32 })
        let seen!: Seen
        const { app, broker } = await liveApp(t, {}, { protocolVersion }, app => { seen = route(app, 'job', pool, 'fail') })
        const connection = broker.last
        // tinypool does not notice that somebody has ended one of its threads.
        const kill = name === 'piscina'
        const messages = [kill ? 'hang' : 'memory', 'next', 'last']
        connection.deliver(...messages.map((payload, i) => ({ topic: 'job', payload, qos, messageId: i + 1 })))
        if (kill) {
          await entered(cells, 1)
          await app.mqtt.publish('marker', '', { qos: 1 })
          t.equal(connection.of('puback').length + connection.of('pubrec').length, 0, 'not acknowledged before')
          await (pool as Piscina).threads[0]!.terminate()
        }
        const acks = await connection.until(qos === 1 ? 'puback' : 'pubrec', 3)
        t.strictSame(acks.map(({ messageId }) => messageId), [1, 2, 3])
        if (protocolVersion === 5) t.strictSame(acks.map(({ reasonCode = 0 }) => reasonCode), [0x83, 0, 0])
        t.match(seen.errors, [{ code: 'FST_MQTT_WORKER_GONE', message: /handler of "job"/, cause: { message: kill ? 'worker exited with code: 1' : /out of memory/ } }])
        t.strictSame(seen.results, ['next', 'last'], 'what comes next is handled')
        t.match(app.mqtt.status().counters, { handled: 2, failed: 1 })
      })
    }
  }

  t.test(`${name}: how tasks fail`, async t => {
    const { pool } = startPool(t, name, { heap: 32 })
    const { app, results, errors } = await embedded(t, pool, 'fail')
    const GONE = { code: 'FST_MQTT_WORKER_GONE', statusCode: 502 }
    const table: Record<string, object> = {
      throw: { name: 'RangeError', message: 'on purpose' },
      text: { message: /threw string/, cause: 'no error' },
      uncaught: { ...GONE, cause: { message: 'nobody catches it' } },
      memory: { ...GONE, cause: { code: 'ERR_WORKER_OUT_OF_MEMORY' } },
      // What cannot be cloned ends the thread of either pool.
      result: GONE
    }
    // See below for what tinypool does.
    if (name === 'piscina') table.exit = { ...GONE, cause: { message: 'worker exited with code: 7' } }
    for (const [i, how] of Object.keys(table).entries()) {
      await app.mqtt.publish('job/1', how, { qos: 1 })
      await app.mqtt.publish('job/1', `fine after ${how}`, { qos: 1 })
      await waitFor(() => results.length === i + 1, `a message after "${how}"`)
      t.equal(results[i], `fine after ${how}`)
      t.equal(errors.length, i + 1)
      t.match(errors[i], table[how]!, how)
    }
    t.equal((errors[0] as { code?: string }).code, undefined, 'the task\'s own error')
  })

  t.test(`${name}: parameters of other types`, async t => {
    class Level {
      readonly text: string
      constructor (text: string) { this.text = text }
    }
    const converters = { odd: { pattern: /.+/, parse: (text: string) => text === 'function' ? () => {} : new Level(text), format: String } }
    const { pool } = startPool(t, name)
    const { app } = await buildApp(t, { embedded: true, converters })
    const seen = route(app, 'level/<odd:value>', pool, 'default')
    await connect(app)
    await app.mqtt.publish('level/function', '', { qos: 1 })
    await app.mqtt.publish('level/high', '', { qos: 1 })
    await waitFor(() => seen.results.length + seen.errors.length === 2, 'both')
    t.match(seen.errors, [{ name: 'DataCloneError' }], 'what cannot cross is the failure of its message')
    t.strictSame((seen.results as Described[]).map(({ task }) => task.params), [{ value: { text: 'high' } }])
  })

  t.test(`${name}: P24, a converter's bytes cross without their neighbours`, async t => {
    const hex = { pattern: /[0-9a-f]+/, parse: (text: string) => Buffer.from(text, 'hex'), format: String }
    const { app } = await buildApp(t, { embedded: true, converters: { hex } })
    let task: { params: { id: Uint8Array } } | undefined
    app.mqtt.topic('device/<hex:id>', poolHandler({ run: async given => { task = structuredClone(given) as typeof task } }))
    await connect(app)
    await app.mqtt.publish('device/cafe01', '', { qos: 1 })
    await waitFor(() => task !== undefined, 'the task')
    t.equal(task!.params.id.buffer.byteLength, 3)
  })

  t.test(`${name}: a full queue`, async t => {
    const { pool, cells } = startPool(t, name, { maxQueue: 2 })
    const { app, results, errors } = await embedded(t, pool, 'gated')
    await app.mqtt.publish('job/0', 0, { qos: 1 })
    await entered(cells, 1)
    for (let n = 1; n < 5; n++) await app.mqtt.publish(`job/${n}`, n, { qos: 1 })
    await waitFor(() => errors.length === 2, 'what finds the queue full')
    t.match(errors, [{ message: 'Task queue is at limit' }, { message: 'Task queue is at limit' }])
    openGate(cells)
    await waitFor(() => results.length === 3, 'the others')
    t.strictSame(new Set(results), new Set([0, 1, 2]))
  })

  t.test(`${name}: several tasks on one thread`, async t => {
    const { pool, cells } = startPool(t, name, { concurrentTasksPerWorker: 3 })
    const { app, results } = await embedded(t, pool, 'patient')
    for (let n = 0; n < 3; n++) await app.mqtt.publish(`job/${n}`, n, { qos: 1 })
    await entered(cells, 3)
    openGate(cells)
    await waitFor(() => results.length === 3, 'their results')
  })

  t.test(`${name}: order of each topic`, async t => {
    const { pool, cells } = startPool(t, name, { threads: 4 })
    const { app, results } = await embedded(t, pool, 'unsteady')
    await Promise.all(Array.from({ length: 200 }, (_, n) => app.mqtt.publish(`job/${n % 10}`, { n }, { qos: 1 })))
    await waitFor(() => results.length === 200, 'all messages')
    const numbers = (results as Array<{ n: number }>).map(({ n }) => n)
    for (let topic = 0; topic < 10; topic++) {
      t.strictSame(numbers.filter(n => n % 10 === topic), Array.from({ length: 20 }, (_, i) => i * 10 + topic), `job/${topic}`)
    }
    const most = Atomics.load(cells, Cell.most)
    t.ok(most > 1 && most <= 4, `${most} at once`)
    t.comment(`200 messages, 10 topics, 4 threads: ${most} at once, ${numbers.filter((n, i) => n !== i).length} not where they were published`)
  })

  t.test(`${name}: handlerTimeout ends the thread`, async t => {
    const { pool, cells } = startPool(t, name)
    const { app, results, errors } = await embedded(t, pool, 'fail', { handlerTimeout: 500 })
    // The thread is up.
    await pool.run({ body: '' }, { name: 'fail' })
    const thread = pool.threads[0]! as unknown as EventEmitter
    const exit = new Promise<void>(resolve => { thread.once('exit', () => { resolve() }) })
    // The second waits for the one thread until its own time is up, and never begins.
    void app.mqtt.publish('job/1', 'hang', { qos: 1 })
    void app.mqtt.publish('job/2', 'hang', { qos: 1 })
    await waitFor(() => errors.length === 2, 'both to be over')
    t.match(errors, [{ code: 'FST_MQTT_HANDLER_TIMEOUT' }, { code: 'FST_MQTT_HANDLER_TIMEOUT' }])
    await withinTime(exit, 'the end of a thread that would not have ended')
    t.equal(Atomics.load(cells, Cell.entered), 1)
    t.equal(pool.queueSize, 0)
    await handlesAgain(app, { results, errors })
    t.strictSame(results, ['next'])
  })

  t.test(`${name}: a task that publishes while it handles`, async t => {
    const { pool } = startPool(t, name, { threads: 2 })
    const { app } = await buildApp(t, { embedded: true, prefix: 'plant' })
    const progress = new Map<number, string[]>()
    app.mqtt.topic('progress/<int:id>', { qos: 2 }, ({ params, body }) => {
      const list = progress.get(params.id) ?? []
      progress.set(params.id, [...list, body as string])
    })
    const seen = route(app, 'job/<int:id>', pool, 'publishing')
    await connect(app)
    for (let id = 0; id < 20; id++) await app.mqtt.publish(`job/${id}`, '', { qos: 1 })
    const count = (): number => [...progress.values()].flat().length
    await waitFor(() => count() === 80 && seen.results.length === 20, '20 jobs with 4 publishes each')
    // aedes keeps the order of one QoS only.
    for (const list of progress.values()) t.strictSame(list.sort(), ['begun', 'done', 'half', 'nearly'])
    t.strictSame([seen.errors, app.mqtt.status().workers], [[], 2])
  })
}

t.test('tinypool does not notice that a task has called process.exit(): handlerTimeout does', async t => {
  const { pool } = startPool(t, 'tinypool')
  const { app } = await buildApp(t, { embedded: true, handlerTimeout: 1_000 })
  const seen = route(app, 'job/<int:n>', pool, 'fail')
  await connect(app)
  await app.mqtt.publish('job/1', 'exit', { qos: 1 })
  await waitFor(() => seen.errors.length === 1, 'the timeout')
  t.match(seen.errors, [{ code: 'FST_MQTT_HANDLER_TIMEOUT' }])
  await handlesAgain(app, seen)
  t.strictSame(seen.results, ['next'])
})

for (const { name: broker, skip, start } of mosquittoSettings()) {
  for (const name of NAMES) {
    t.test(`${name}: closing while tasks run: ${broker}`, { skip }, async t => {
      const { options, broker } = await start(t)
      const session = { ...options, clientId: 'pool', session: { clean: false, expiry: 3600 }, closeTimeout: 1_000 }
      const { pool, cells } = startPool(t, name, { threads: 2 })
      const { app } = await buildApp(t, session)
      // That a task may be aborted does not mean that closing does it.
      const short = route(app, 'short/<int:n>', pool, 'patient', { handlerTimeout: 60_000 })
      const long = route(app, 'long/<int:n>', pool, 'fail')
      await connect(app)
      const peer = await connectClient(t, broker!.url)
      for (const [topic, payload] of [['short/1', '"ended"'], ['long/1', 'hang'], ['long/1', 'behind it'], ['long/2', 'in the queue']] as const) {
        await peer.client.publishAsync(topic, payload, { qos: 1 })
      }
      await entered(cells, 2)
      await waitFor(() => app.mqtt.status().counters.received === 4, 'all messages')

      const begun = performance.now()
      const closed = app.close()
      await waitFor(() => app.mqtt.state === 'closing', 'closing')
      openGate(cells)
      await waitFor(() => short.results.length === 1 && long.results.length === 1, 'tasks that end meanwhile')
      await withinTime(closed, 'the end of close()')
      const elapsed = performance.now() - begun
      t.ok(elapsed < 1_000 + 500, `${elapsed.toFixed()} ms with a closeTimeout of 1 000`)
      t.strictSame([short.results, short.errors, long.results, long.errors], [['ended'], [], ['in the queue'], []], 'no handler has failed')

      const { app: next } = await buildApp(t, session)
      const again: string[] = []
      for (const topic of ['short/<int:n>', 'long/<int:n>']) {
        next.mqtt.topic(topic, { qos: 2 }, message => { again.push(`${message.topic} ${message.text()}`) })
      }
      await connect(next)
      await waitFor(() => again.length >= 2, 'what was left')
      // The broker has sent what was due by the time that it answers.
      await next.mqtt.publish('marker', '', { qos: 1 })
      t.strictSame(again.sort(), ['long/1 behind it', 'long/1 hang'], 'what is unfinished is unacknowledged, and nothing else')
    })
  }
}

for (const name of NAMES) {
  for (const handlerTimeout of [0, 60_000]) {
    t.test(`${name}: a pool that is destroyed while the application closes, handlerTimeout ${handlerTimeout}`, async t => {
      const { pool, cells } = startPool(t, name)
      let seen!: Seen
      const { app, broker } = await liveApp(t, {}, { closeTimeout: 10_000, handlerTimeout }, app => {
        seen = route(app, 'job/<int:n>', pool, 'fail')
        app.addHook('onClose', async () => { await pool.destroy() })
      })
      broker.last.deliver({ topic: 'job/1', payload: 'hang', qos: 1, messageId: 1 }, { topic: 'job/2', payload: 'in the queue', qos: 2, messageId: 2 })
      await entered(cells, 1)
      await withinTime(app.close(), 'the end of close()', { within: 8_000 })
      t.strictSame([broker.last.of('puback').length, broker.last.of('pubrec').length], [0, 0], 'unacknowledged')
      t.strictSame([seen.results, seen.errors], [[], []], 'and no failure')
    })
  }
}

t.test('what the task returns is the reply', { skip: mosquittoMissing() }, async t => {
  const { url } = await startMosquitto(t)
  const { app } = await buildApp(t, { url, protocolVersion: 5 })
  const { pool } = startPool(t, 'piscina')
  app.mqtt.topic('job/<int:n>', { qos: 1 }, poolHandler(pool, { name: 'fail' }))
  await connect(app)
  const reply: Message = await app.mqtt.request('job/1', { question: 42 }, { timeout: 15_000 })
  t.strictSame(reply.body, { question: 42 })
  await t.rejects(app.mqtt.request('job/1', 'exit', { timeout: 15_000 }), { code: 'FST_MQTT_REPLY_ERROR', remote: { code: 'FST_MQTT_WORKER_GONE' } })
})

t.test('a pool without threads to look at', async t => {
  const calls: unknown[] = []
  const signal = new AbortController()
  const message = { topic: 'a', params: {}, payload: Buffer.from('x'), body: 'x', qos: 0, retain: false, properties: {}, signal: signal.signal } as unknown as Message
  const pool: PoolLike = { run: async (_task, options) => { calls.push(options.name, options.signal?.aborted); throw new Error('worker exited with code: 1') } }
  await t.rejects(poolHandler(pool)(message), { code: 'FST_MQTT_WORKER_GONE' })
  const throwing: PoolLike = { run: () => { throw new Error('at once') } }
  await t.rejects(poolHandler(throwing, { name: 'x' })(message), { message: 'at once' })
  t.strictSame(calls, [undefined, false])
  signal.abort(new Error('before it began'))
  await t.rejects(poolHandler(pool)(message))
  t.equal(calls[3], true)
})
