import { once } from 'node:events'
import { Worker } from 'node:worker_threads'
import mqtt, { type MqttClient } from 'mqtt'
import t, { type Test } from 'tap'
import { MeasuredChild } from '../faults/fixtures/memory-child.ts'
import { MIB } from '../faults/fixtures/memory.ts'
import { nameOf, skip, VERSIONS, type Version } from '../faults/fixtures/storms.ts'
import { nextEvent, waitFor, withinTime } from '../support/events.ts'
import { Ledger } from '../support/ledger.ts'
import { startMosquitto } from '../support/mosquitto.ts'
import type { HttpFigures } from './fixtures/http-load.ts'
import type { WorkersCommands, WorkersOrders } from './fixtures/workers-app.ts'

/*
 * Eight worker threads publish numbered messages of QoS 1 through one connection, while mosquitto is restarted twice and
 * HTTP requests come in beside it. WORKERS_MESSAGES is how many each of them publishes.
 */

const THREADS = 8
const COUNT = Number(process.env.WORKERS_MESSAGES ?? 100_000)
const WARM = 2_000
const BATCH = 500
const SIZE = 128
/** HTTP requests a second. */
const RATE = 200
const RESTARTS = 2
/** What a thread may have for itself, in megabytes; past that it would end. */
const HEAP = { maxYoungGenerationSizeMb: 8, maxOldGenerationSizeMb: 16 }
/** What was configured, here by default. */
const OUTBOX_BYTES = 64 * MIB
const SLACK = 30e6
/** What may be left of the main thread's heap and of buffers when all is over. */
const REST = 8e6
const LIMIT = { within: 280_000 }

t.setTimeout(2 * 300_000)

for (const version of VERSIONS) {
  t.test(`${THREADS} workers with ${COUNT} messages each: ${nameOf(version)}`, { skip, timeout: 300_000 }, t => publishAll(t, version))
}

async function publishAll (t: Test, version: Version): Promise<void> {
  const broker = await startMosquitto(t, { persistence: true })
  const ledgers = Array.from({ length: THREADS }, () => new Ledger())
  const total = THREADS * COUNT
  let received = 0
  let redelivered = 0
  await connectWitness(t, broker.url, (thread, n, dup) => {
    ledgers[thread]!.received(n)
    received++
    if (dup) redelivered++
  })
  const app = new MeasuredChild<WorkersCommands>(t, '../../long/fixtures/workers-app.js', {
    options: { url: broker.url, protocolVersion: version, reconnect: { min: 50, max: 500 } },
    threads: THREADS,
    heap: HEAP,
    warm: WARM,
    count: COUNT,
    batch: BATCH,
    size: SIZE
  } satisfies WorkersOrders)
  await waitFor(() => app.ask('connected', []), 'a connected application')

  const http = httpLoad(t, await app.ask('port', []))
  await told(t, http, 'HTTP with nothing beside it', 2_000)
  await app.ask('start', [])
  await settled(app, THREADS * WARM)
  await http()
  await app.ask('begin', [])
  const began = performance.now()
  const outages: number[] = []
  for (let restart = 1; restart <= RESTARTS; restart++) {
    await settled(app, Math.floor(total * restart / (RESTARTS + 1)))
    const start = performance.now()
    await broker.restart()
    await waitFor(async () => (await app.ask('state', [])).status.counters.reconnects === restart, 'a reconnect')
    outages.push(Math.round(performance.now() - start))
  }
  await settled(app, total)
  const seconds = (performance.now() - began) / 1_000
  await told(t, http, 'HTTP beside the load')
  await waitFor(async () => (await app.ask('state', [])).ended === THREADS, 'an end of all threads')
  await waitFor(() => received >= total, 'the last messages', { within: 60_000 }).catch(() => {})

  const { rejected, status } = await app.ask('state', [])
  const growth = await app.ask('growth', [])
  const unconfirmed = ledgers.map(() => new Set<number>())
  for (const { thread, n } of rejected) unconfirmed[thread]!.add(n)
  const reports = ledgers.map((ledger, thread) => {
    for (let n = 1; n <= COUNT; n++) if (!unconfirmed[thread]!.has(ledger.next())) ledger.confirmed(n)
    return ledger.report()
  })
  const sum = (of: (report: ReturnType<Ledger['report']>) => number[]): number => reports.reduce((all, report) => all + of(report).length, 0)
  t.comment(`${nameOf(version)}: ${JSON.stringify({
    sent: total,
confirmed: total - rejected.length,
received,
redelivered,
lost: sum(({ lost }) => lost),
duplicated: sum(({ duplicated }) => duplicated),
    reordered: sum(({ reordered }) => reordered),
foreign: sum(({ foreign }) => foreign),
outages,
perSecond: Math.round((total - THREADS * WARM) / seconds)
  })}`)
  t.strictSame(rejected, [], 'every publish was confirmed')
  for (const [thread, { lost, foreign, reordered }] of reports.entries()) {
    t.strictSame({ lost, foreign, reordered }, { lost: [], foreign: [], reordered: [] }, `thread ${thread}: nothing lost, all in order`)
  }
  t.match(status, { state: 'connected', workers: 0, outbox: { messages: 0, bytes: 0, inflight: 0 }, counters: { published: total, refused: 0, reconnects: RESTARTS } })

  const limit = OUTBOX_BYTES + THREADS * (HEAP.maxYoungGenerationSizeMb + HEAP.maxOldGenerationSizeMb) * MIB + SLACK
  t.comment(`${nameOf(version)}: resident +${megabytes(growth.peak)} of at most ${megabytes(limit)} (from ${megabytes(growth.baseline)}, left ${megabytes(growth.left)}, held ${megabytes(growth.held)}), outbox at most ${megabytes(growth.outbox)}, published ${megabytes(total * SIZE)}`)
  t.ok(growth.peak <= limit, 'memory is bounded')
  t.ok(growth.held <= REST, 'and comes back')
}

/** A client whose session outlives the broker's restarts, and that never stops coming back. */
async function connectWitness (t: Test, url: string, onMessage: (thread: number, n: number, dup: boolean) => void): Promise<MqttClient> {
  const client = mqtt.connect(url, { clientId: 'witness', clean: false, reconnectPeriod: 20, connectTimeout: 10_000 })
  t.teardown(() => { client.end(true) })
  client.on('error', () => {}) // The broker is away at times.
  client.on('message', (topic, payload, { dup }) => {
    onMessage(Number(topic.slice('load/'.length)), Number.parseInt(payload.toString('latin1', 0, 12), 10), dup)
  })
  await nextEvent(client, 'connect')
  await client.subscribeAsync('load/+', { qos: 1 })
  return client
}

/** Requests at a steady rate from now on. Tells how they went since it was last asked. */
function httpLoad (t: Test, port: number): () => Promise<HttpFigures> {
  const worker = new Worker(new URL('./fixtures/http-load.js', import.meta.url), { execArgv: [], workerData: { port, path: '/status', rate: RATE } })
  t.teardown(async () => { await worker.terminate() })
  return async () => {
    worker.postMessage('tell')
    const [figures] = await withinTime(once(worker, 'message'), 'the figures of HTTP') as [HttpFigures]
    return figures
  }
}

async function told (t: Test, http: () => Promise<HttpFigures>, name: string, wait = 0): Promise<void> {
  // What is waited for is requests to have been made.
  await new Promise(resolve => { setTimeout(resolve, wait) })
  const { answered, failed, p50, p99, max } = await http()
  t.comment(`${name}, ${RATE} a second: ${answered} answered, ${failed} failed, p50 ${p50.toFixed(1)} ms, p99 ${p99.toFixed(1)} ms, max ${max.toFixed(1)} ms`)
  t.equal(failed, 0, `${name}: all are answered`)
}

async function settled (app: MeasuredChild<WorkersCommands>, count: number): Promise<void> {
  await waitFor(async () => {
    const state = await app.ask('state', [])
    await new Promise(resolve => { setTimeout(resolve, 20) }) // Asking is load, too.
    return state.settled >= count
  }, `${count} settled publishes`, LIMIT)
}

function megabytes (bytes: number): string {
  return `${(bytes / 1e6).toFixed(1)} MB`
}
