import t, { type Test } from 'tap'
import { MeasuredChild } from '../faults/fixtures/memory-child.ts'
import { waitFor } from '../support/events.ts'
import { freePort } from '../support/ports.ts'
import type { BoundedCommands } from './fixtures/bounded-app.ts'
import type { WorkerLoad } from './fixtures/bounded-worker.ts'

/* Promise P10, of workers: the resident set of the process grows by the configured bytes and 30 MB at most. */

t.setTimeout(300_000)

const MIB = 2 ** 20
const SLACK = 30e6

interface Row {
  workers: number
  load: WorkerLoad
  /** As much as they may have, but for the default of `workers.window`. */
  outbox: { maxBytes: number, maxMessages?: number }
}

async function bounded (t: Test, { workers, load, outbox }: Row): Promise<void> {
  const options = { url: `mqtt://127.0.0.1:${await freePort()}`, outbox }
  const app = new MeasuredChild<BoundedCommands>(t, '../../bridge/fixtures/bounded-app.js', { options, workers })
  // Code and young generations get their size. All of this is given up.
  await app.ask('publish', [{ ...load, count: Math.min(load.count, 20_000), timeout: 20 }])
  await waitFor(async () => (await app.ask('figures', [])).status.outbox.messages === 0, 'the end of the first publishes')
  await app.ask('begin', [])
  const tallies = await app.ask('publish', [load])
  const { peak, left, held, status: { outbox: { messages, bytes } } } = await app.ask('figures', [])
  // The outbox, and of each worker its window twice over and what it has unconfirmed itself.
  const configured = outbox.maxBytes + workers * (2 * MIB + (load.qos === 0 ? 0 : outbox.maxBytes))
  const megabytes = (bytes: number): string => `${(bytes / 1e6).toFixed(1)} MB`
  t.comment(`+${megabytes(peak)} of at most ${megabytes(configured + SLACK)}, left ${megabytes(left)}, held ${megabytes(held)}: ${JSON.stringify({ messages, bytes, tallies })}`)
  t.ok(peak <= configured + SLACK, `the resident set grew by ${megabytes(peak)}`)
  t.ok(tallies.every(({ refused }) => Object.keys(refused).every(code => code === 'FST_MQTT_OUTBOX_FULL')), 'refused by the limit')
}

t.test('P10: tiny QoS 0 publishes of three workers, without a broker', t =>
  bounded(t, { workers: 3, load: { count: 100_000, qos: 0, size: 1, perTurn: 500 }, outbox: { maxBytes: MIB } }))
t.test('P10: one in each turn', t =>
  bounded(t, { workers: 2, load: { count: 60_000, qos: 0, size: 1, perTurn: 1 }, outbox: { maxBytes: MIB } }))
t.test('P10: a million tiny ones in one turn', t =>
  bounded(t, { workers: 1, load: { count: 1_000_000, qos: 1, size: 16 }, outbox: { maxBytes: 16 * MIB } }))
t.test('P10: a million in one turn, more of which are taken than the outbox has room for', t =>
  bounded(t, { workers: 2, load: { count: 1_000_000, qos: 1, size: 1_024 }, outbox: { maxBytes: 16 * MIB, maxMessages: 1_000_000 } }))
