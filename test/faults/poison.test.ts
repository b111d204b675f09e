import { Worker } from 'node:worker_threads'
import type { FastifyInstance } from 'fastify'
import t, { type Test } from 'tap'
import type { MqttError } from '../../lib/index.ts'
import { buildApp, live } from '../support/app.ts'
import { waitFor, withinTime } from '../support/events.ts'
import { Ledger } from '../support/ledger.ts'
import { startMosquitto, type MosquittoOptions } from '../support/mosquitto.ts'
import { payloadOf, type PoisonJob } from './fixtures/bad-input-poisons.ts'
import { add, keptSession, nameOf, settledLedger, skip, VERSIONS, witness, type Tally, type Version } from './fixtures/storms.ts'
import { ResetStorm, startProxy, type Proxy } from './proxy.ts'

/*
 * Promise P5: the broker takes less than it did when a publish was accepted. MQTT 5 is told so in CONNACK; a 3.1.1 client is hung
 * up on at each packet that is too large.
 */

t.setTimeout(120_000)

const BEFORE = 100_000
const AFTER = 1_000
/** Over the one and below the other. */
const SIZE = 3_000
/** Reconnects that one such publish may cost. */
const MOST_RECONNECTS = 3

interface Stage {
  app: FastifyInstance
  proxy: Proxy
  ledger: Ledger
  /** The broker comes back, and takes less. Nothing of what was published since `blackHole` has reached it. */
  shrink: () => Promise<void>
  /** Reconnects since. */
  reconnects: () => number
}

async function stage (t: Test, version: Version): Promise<Stage> {
  const options: MosquittoOptions = { persistence: true, maxPacketSize: BEFORE }
  const broker = await startMosquitto(t, options)
  const proxy = await startProxy(t, broker.port)
  const { app } = await buildApp(t, { url: proxy.url, protocolVersion: version, reconnect: { min: 1, max: 20 }, publishTimeout: 0, ...keptSession() })
  const ledger = new Ledger()
  await app.ready()
  await live(app)
  let before = 0
  return {
    app,
    proxy,
    ledger,
    async shrink () {
      await waitFor(() => app.mqtt.status().outbox.inflight > 0, 'publishes under way')
      await broker.stop()
      options.maxPacketSize = AFTER
      await broker.start()
      await witness(t, broker, 'n', ledger)
      before = proxy.connections.filter(({ accepted }) => accepted).length + 1
      proxy.blackHole(false)
      // Those that the restart itself ended are none of the poison's.
      await waitFor(() => proxy.connections.filter(({ accepted }) => accepted).length >= before, 'the first connection')
    },
    reconnects: () => proxy.connections.filter(({ accepted }) => accepted).length - before
  }
}

function publishAll (app: FastifyInstance, { topic, count, poison, size, qos }: PoisonJob): Promise<string[]> {
  return Promise.all(Array.from({ length: count }, (_, i) => app.mqtt.publish(topic, payloadOf(i + 1, poison, size), { qos }).then(
    () => 'ok',
    (error: MqttError) => `${error.code}${error.maybeSent === undefined ? ', untold' : ''}`
  )))
}

/** The same from a worker thread; resolves when all is handed over. */
async function publishFromWorker (t: Test, job: PoisonJob): Promise<{ ended: Promise<string[]> }> {
  const worker = new Worker(new URL('./fixtures/bad-input-poison.js', import.meta.url), { execArgv: [], workerData: job })
  t.after(() => worker.terminate())
  let published!: () => void
  const started = new Promise<void>(resolve => { published = resolve })
  const ended = new Promise<string[]>((resolve, reject) => {
    worker.on('message', (message: { published?: true, result?: string[] }) => {
      if (message.published === true) published()
      if (message.result !== undefined) resolve(message.result)
    })
    worker.once('error', reject)
  })
  await withinTime(started, 'the publishes of the worker')
  return { ended }
}

/** How it has to end: the bad ones by their code, the others delivered, once each at QoS 2, in order. */
async function check (t: Test, version: Version, { count, poison, qos }: PoisonJob, outcomes: string[], ledger: Ledger): Promise<void> {
  const tally: Tally = {}
  for (const [i, outcome] of outcomes.entries()) {
    const n = ledger.next()
    const bad = poison.includes(i + 1)
    add(tally, bad ? `bad: ${outcome}` : outcome)
    if (outcome === 'ok') ledger.confirmed(n)
  }
  t.strictSame({ ok: 0, ...tally }, { ok: count - poison.length, [`bad: ${version === 5 ? 'FST_MQTT_PAYLOAD' : 'FST_MQTT_POISON'}`]: poison.length })
  await settledLedger(ledger)
  const { lost, duplicated, foreign, reordered } = ledger.report()
  t.strictSame({ lost, foreign, reordered }, { lost: [], foreign: [], reordered: [] })
  if (qos === 2) t.strictSame(duplicated, [], 'nothing twice at QoS 2')
  t.equal(ledger.counts.received, count - poison.length, 'none of the bad ones')
}

for (const version of VERSIONS) {
  t.test(nameOf(version), { skip }, t => {
    const many = Array.from({ length: 5 }, (_, i) => 30 + i * 60)
    const places: Array<[name: string, poison: number[], count: number]> = [
      ['at the head', [1], 300], ['in the middle', [150], 300], ['at the end', [300], 300], ['alone', [1], 1], ['two in a row', [10, 11], 300], ['five among 300', many, 300]
    ]
    for (const qos of [1, 2] as const) {
      for (const [name, poison, count] of places) {
        t.test(`P5: QoS ${qos}, ${name}`, async t => {
          const { app, proxy, ledger, shrink, reconnects } = await stage(t, version)
          const job: PoisonJob = { topic: 'n', count, poison, size: SIZE, qos }
          proxy.blackHole(true)
          const running = publishAll(app, job)
          await shrink()
          const outcomes = await withinTime(running, `the ends of all: ${JSON.stringify(app.mqtt.status())}`, { within: 30_000 })
          const spent = reconnects()
          await check(t, version, job, outcomes, ledger)
          t.comment(`${nameOf(version)}, QoS ${qos}, ${name}: ${spent} reconnects`)
          t.ok(spent <= (version === 5 ? 0 : MOST_RECONNECTS * poison.length), `${spent} reconnects`)
          t.match(await app.mqtt.publish('n', '1', { qos }), { reasonCode: 0 }, 'it goes on')
          t.match(app.mqtt.status(), { outbox: { messages: 0, bytes: 0, inflight: 0 } })
        })
      }
    }

    t.test('P5: from a worker, beside the main thread', async t => {
      const { app, proxy, ledger, shrink, reconnects } = await stage(t, version)
      const job: PoisonJob = { topic: 'n', count: 300, poison: [7, 200], size: SIZE, qos: 1 }
      proxy.blackHole(true)
      const { ended } = await publishFromWorker(t, job)
      const main = Promise.all(Array.from({ length: 100 }, () => app.mqtt.publish('beside', 'fine', { qos: 1 })))
      await shrink()
      const outcomes = await withinTime(ended, 'the ends of all', { within: 30_000 })
      const spent = reconnects()
      await check(t, version, job, outcomes, ledger)
      t.comment(`${nameOf(version)}, from a worker: ${spent} reconnects`)
      t.ok(spent <= (version === 5 ? 0 : MOST_RECONNECTS * job.poison.length), `${spent} reconnects`)
      await withinTime(main, "the main thread's")
    })

    t.test('P5: what waits in the outbox, and was never sent', async t => {
      const { app, proxy, ledger, shrink, reconnects } = await stage(t, version)
      const job: PoisonJob = { topic: 'n', count: 1_000, poison: [900], size: SIZE, qos: 1 }
      proxy.blackHole(true)
      const running = publishAll(app, job)
      await shrink()
      await check(t, version, job, await withinTime(running, 'the ends of all', { within: 30_000 }), ledger)
      t.ok(reconnects() <= (version === 5 ? 0 : MOST_RECONNECTS), `${reconnects()} reconnects`)
    })

    for (const qos of [1, 2] as const) {
      t.test(`P5: 20 resets by the network are nobody's fault: QoS ${qos}`, async t => {
        const { app, proxy } = await stage(t, version)
        const tally: Tally = {}
        const running: Array<Promise<void>> = []
        const storm = new ResetStorm(t, proxy, 40).start()
        while (storm.resets < 20 || running.length < 300) {
          for (let i = 0; i < 3; i++) running.push(app.mqtt.publish('n', 'innocent', { qos }).then(() => add(tally, 'ok'), (error: MqttError) => add(tally, error.reasonCode === undefined ? error.code : `${error.code} ${error.reasonCode}`)))
          // Some at a time, so that there always are some for a reset to meet.
          await new Promise(resolve => { setTimeout(resolve, 5) })
        }
        storm.stop()
        await withinTime(Promise.all(running), 'the ends of all')
        t.comment(`${nameOf(version)}, QoS ${qos}: ${JSON.stringify(tally)}, ${storm.resets} resets`)
        t.strictSame(tally, { ok: running.length })
      })

      t.test(`P5: 20 connections end right behind an answer: QoS ${qos}`, async t => {
        const { app, proxy } = await stage(t, version)
        const tally: Tally = {}
        const running: Array<Promise<void>> = []
        const answer = qos === 1 ? 'puback' : 'pubcomp'
        for (let round = 0; round < 20; round++) {
          for (let i = 0; i < 15; i++) running.push(app.mqtt.publish('n', 'innocent', { qos }).then(() => add(tally, 'ok'), (error: MqttError) => add(tally, error.reasonCode === undefined ? error.code : `${error.code} ${error.reasonCode}`)))
          const nth = proxy.counted('down', answer) + 1 + Math.floor(Math.random() * 5)
          await proxy.cutWhen(packet => packet.direction === 'down' && packet.cmd === answer && packet.nth >= nth ? 'after' : undefined)
        }
        await withinTime(Promise.all(running), 'the ends of all')
        t.comment(`${nameOf(version)}, QoS ${qos}: ${JSON.stringify(tally)}, ${app.mqtt.status().counters.reconnects} reconnects`)
        t.strictSame(tally, { ok: 300 })
      })
    }

    t.test('P5: the network resets too', async t => {
      const { app, proxy, shrink } = await stage(t, version)
      const tally: Tally = {}
      const running: Array<Promise<void>> = []
      const publish = (payload: string, what: string): void => {
        running.push(app.mqtt.publish('n', payload, { qos: 1 }).then(() => add(tally, `${what}: ok`), (error: MqttError) => add(tally, `${what}: ${error.code}`)))
      }
      proxy.blackHole(true)
      publish('first', 'good')
      await shrink()
      const storm = new ResetStorm(t, proxy, 40).start()
      let poisons = 0
      while (storm.resets < 30) {
        for (let i = 0; i < 3; i++) publish('innocent', 'good')
        // When it shows that connections end by themselves: three resets on one publish would tell nothing before.
        if (poisons < 3 && storm.resets >= 8 + poisons * 6) {
          poisons++
          publish('x'.repeat(SIZE), 'bad')
        }
        await new Promise(resolve => { setTimeout(resolve, 5) })
      }
      storm.stop()
      await withinTime(Promise.all(running), 'the ends of all', { within: 60_000 })
      t.comment(`${nameOf(version)}: ${JSON.stringify(tally)}, ${storm.resets} resets`)
      t.strictSame(tally, { 'good: ok': running.length - 3, [`bad: ${version === 5 ? 'FST_MQTT_PAYLOAD' : 'FST_MQTT_POISON'}`]: 3 })
    })
    t.end()
  })
}
