import { Piscina } from 'piscina'
import t from 'tap'
import type { PublishEvent, WorkerEvent } from '../../lib/index.ts'
import { handOvers } from '../../lib/tracing.ts'
import { endOf, spawn } from '../bridge/threads.ts'
import type { PublishJob, PublishOutcome } from '../plugin/fixtures/publish-task.ts'
import { allSettings, buildApp, connect } from '../support/app.ts'
import { waitFor } from '../support/events.ts'
import { mosquittoMissing, startMosquitto } from '../support/mosquitto.ts'
import { publishChannel, recordPlain, recordPublishes, type Told } from './record.ts'

/* docs/observability.md: what workers hand over, and their publishes, seen from the application. */

const TASK = new URL('../plugin/fixtures/publish-task.js', import.meta.url).href
const GOOD = ['start', 'end', 'asyncStart', 'asyncEnd']
const BAD = ['start', 'end', 'error', 'asyncStart', 'asyncEnd']
const CHANNEL = 'fastify-multimqtt.worker'

/** How often each way to end occurred. */
function endings (told: Told<PublishEvent>): Record<string, number> {
  const counts: Record<string, number> = {}
  for (const { names, event } of told.byEvent()) {
    const key = `${names.join()} ${(event.error as { code?: string } | undefined)?.code ?? 'ok'}`
    counts[key] = (counts[key] ?? 0) + 1
  }
  return counts
}

for (const { name, skip, start } of allSettings()) {
  t.test(`${name}: two threads`, { skip }, async t => {
    const { options } = await start(t)
    const { app } = await buildApp(t, { ...options, prefix: 'plant', workers: { topics: ['plant/worker/#'] } })
    await connect(app)
    const handedOver = recordPlain<WorkerEvent>(t, CHANNEL)
    const told = recordPublishes(t)
    const pool = new Piscina<PublishJob, PublishOutcome>({ filename: TASK, minThreads: 2, maxThreads: 2, concurrentTasksPerWorker: 1 })
    t.after(() => pool.destroy())
    const count = 100
    const outcomes = await Promise.all([0, 1].map(task => pool.run({ task, from: 0, count, qos: task as 0 | 1 })))
    await waitFor(() => told.names.filter(name => name === 'asyncEnd').length === 2 * count, 'all')
    t.strictSame(endings(told), { [`${GOOD.join()} ok`]: 2 * count })
    t.strictSame(new Set(told.events.map(({ source }) => source)), new Set(outcomes.map(({ threadId }) => threadId)))
    const [first] = told.byEvent().filter(({ event }) => event.qos === 0)
    t.match(first!.event, { topic: 'plant/worker/0/0', retain: false, bytes: 1, properties: undefined, result: { reasonCode: Number } })
    t.equal(handedOver.reduce((sum, event) => sum + event.count, 0), 2 * count)
    // At QoS 0, MQTT 3.1.1, a frame of a digit: 2 bytes of header, 2 and 16 of topic, 1 of payload.
    t.ok(handedOver.every(event => event.bytes >= event.count * 21))
    t.comment(`${2 * count} publishes of 2 threads in ${handedOver.length} messages`)
  })
}

t.test('a worker that exits at once; properties are not the payload', async t => {
  const { app } = await buildApp(t, { connect: false, protocolVersion: 5 })
  await app.ready()
  const told = recordPublishes(t)
  const handedOver = recordPlain<WorkerEvent>(t, CHANNEL)
  const worker = spawn('andExit', { topic: 'a', count: 2, size: 5, qos: 1, properties: { contentType: 'text/plain' } })
  const { threadId } = worker
  await endOf(worker)
  await waitFor(() => told.names.length >= 8, 'its publishes')
  t.match(told.byEvent(), [0, 1].map(n => ({ names: GOOD, event: { source: threadId, topic: `a/${n}`, qos: 1, bytes: 5 } })))
  t.match(handedOver, [{ namespace: undefined, threadId, count: 2 }])
})

t.test('a topic that is not for workers: refused by the application what comes before it has told the worker', async t => {
  const { app } = await buildApp(t, { url: 'mqtt://127.0.0.1:1', workers: { topics: ['other'] } })
  await app.ready()
  const told = recordPublishes(t)
  const ended = new Int32Array(new SharedArrayBuffer(4))
  const worker = endOf(spawn('flagged', { topic: 'a', count: 2, qos: 1, ended, how: 'exit' }))
  // This thread tells nobody anything until both are published.
  t.not(Atomics.wait(ended, 0, 0, 10_000), 'timed-out')
  await worker
  await waitFor(() => told.names.length >= 10, 'what was refused')
  t.strictSame(endings(told), { [`${BAD.join()} FST_MQTT_WORKER_TOPIC`]: 2 })
})

t.test('a full outbox', async t => {
  // A worker leaves something for the next one.
  const { app } = await buildApp(t, { url: 'mqtt://127.0.0.1:1', outbox: { maxMessages: 4 } })
  await app.ready()
  const told = recordPublishes(t)
  await endOf(spawn('andExit', { topic: 'a', count: 5, qos: 1 }))
  await waitFor(() => told.names.length >= 16, 'what was refused')
  t.strictSame(told.byEvent().map(({ names }) => names), [...Array<string[]>(3).fill(['start', 'end']), BAD, BAD])
})

t.test('a request of a worker is a publish of that worker', { skip: mosquittoMissing() }, async t => {
  const { url } = await startMosquitto(t)
  const { app } = await buildApp(t, { url, protocolVersion: 5 })
  app.mqtt.topic('ask', () => 'answer')
  await connect(app)
  const told = recordPublishes(t)
  const pool = new Piscina({ filename: new URL('../request/fixtures/request-task.js', import.meta.url).href, maxThreads: 1 })
  t.after(() => pool.destroy())
  t.match(await pool.run({ topic: 'ask' }, { name: 'ask' }), { text: 'answer' })
  const [{ threadId }] = pool.threads as unknown as [{ threadId: number }]
  t.match(told.byEvent().map(({ event }) => [event.topic, event.source]), [['ask', threadId], [/^reply/, 'main']])
})

t.test('with nobody there nothing is made', async t => {
  const { app } = await buildApp(t, { connect: false })
  await app.ready()
  let calls = 0
  const count = (): void => { calls++ }
  Object.assign(publishChannel.start, { runStores: count })
  Object.assign(handOvers, { publish: count })
  await endOf(spawn('andExit', { topic: 'a', count: 2 }))
  await waitFor(() => app.mqtt.status().counters.published === 2, 'its publishes')
  Reflect.deleteProperty(publishChannel.start, 'runStores')
  Reflect.deleteProperty(handOvers, 'publish')
  t.equal(calls, 0)
})
