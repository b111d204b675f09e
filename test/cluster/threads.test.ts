import t, { type Test } from 'tap'
import { connectClient } from '../support/client.ts'
import { waitFor } from '../support/events.ts'
import { Ledger } from '../support/ledger.ts'
import { startMosquitto } from '../support/mosquitto.ts'
import { nameOf, skip, VERSIONS, type Version } from '../faults/fixtures/storms.ts'
import { Crew } from './fixtures/crew.ts'

/* Worker threads in each of several processes: each finds the application of its own process. */

t.setTimeout(180_000)

const SIZE = 4
const THREADS = 2
const COUNT = 150

for (const version of VERSIONS) {
  t.test(`worker threads in four processes: ${nameOf(version)}`, { skip }, t => publishFromThreads(t, version))
}

async function publishFromThreads (t: Test, version: Version): Promise<void> {
  const broker = await startMosquitto(t)
  const crew = await new Crew(t, { size: SIZE, options: () => ({ url: broker.url, protocolVersion: version }) }).start()
  const peer = await connectClient(t, broker.url)

  for (const qos of [0, 1, 2] as const) {
    await t.test(`QoS ${qos}: all that was confirmed arrives, from each thread in order`, async t => {
      const inbox = await peer.messages(`thread/${qos}/#`, { qos: 2 })
      const ledgers = Array.from({ length: SIZE * THREADS }, () => new Ledger())
      for (const ledger of ledgers) for (let i = 0; i < COUNT; i++) ledger.next()

      const answers = await Promise.all(crew.members.map(async (member, slot) => member.ask('publishFromThreads', [THREADS, `thread/${qos}/${slot}`, COUNT, qos])))
      const results = answers.flat(2)
      t.strictSame(results.filter(result => (result as { reasonCode?: number }).reasonCode !== 0), [], 'all are confirmed')
      t.equal(results.length, SIZE * THREADS * COUNT)
      await waitFor(() => inbox.all.length >= results.length, 'what was published').catch(() => {})

      for (const ledger of ledgers) for (let n = 1; n <= COUNT; n++) ledger.confirmed(n)
      for (const { topic } of inbox.all) {
        const [slot, thread, i] = topic.split('/').slice(2).map(Number) as [number, number, number]
        ledgers[slot * THREADS + thread]!.received(i + 1)
      }
      t.comment(`${nameOf(version)}, QoS ${qos}: ${SIZE} processes with ${THREADS} threads, ${JSON.stringify({ confirmed: results.length, received: inbox.all.length })}`)
      for (const [index, ledger] of ledgers.entries()) {
        t.strictSame(ledger.report(), { lost: [], duplicated: [], foreign: [], reordered: [] }, `thread ${index % THREADS} of process ${Math.floor(index / THREADS)}`)
      }
    })
  }

  const told = await Promise.all(crew.members.map(async member => member.ask('tell', [])))
  for (const { clientId, status } of told) {
    t.match(status, { workers: 0, outbox: { messages: 0, bytes: 0, inflight: 0 }, counters: { published: 3 * THREADS * COUNT, refused: 0, reconnects: 0 } }, clientId)
  }
}
