import t, { type Test } from 'tap'
import { connectClient } from '../support/client.ts'
import { waitFor } from '../support/events.ts'
import { Ledger } from '../support/ledger.ts'
import { startMosquitto } from '../support/mosquitto.ts'
import { nameOf, skip, VERSIONS, type Version } from '../faults/fixtures/storms.ts'
import { Crew } from './fixtures/crew.ts'
import { publishNumbers } from './fixtures/publish.ts'

/* Four processes under node:cluster on one mosquitto, as the documentation tells people to run them. */

t.setTimeout(180_000)

const COUNT = 400
const SIZE = 4

for (const version of VERSIONS) {
  t.test(`four processes with one group: ${nameOf(version)}`, { skip }, t => shareWork(t, version))
}

async function shareWork (t: Test, version: Version): Promise<void> {
  // Its standard output it would keep to itself until it ends.
  const broker = await startMosquitto(t, { config: ['log_dest stderr'] })
  const crew = await new Crew(t, { size: SIZE, options: () => ({ url: broker.url, protocolVersion: version }) }).start()
  const peer = await connectClient(t, broker.url)

  for (const qos of [0, 1, 2] as const) {
    await t.test(`QoS ${qos}: each message is handled by one process, and without a group by each`, async t => {
      const shared = new Ledger()
      const common = Array.from({ length: SIZE }, () => new Ledger())
      await publishNumbers(peer.client, `one/${qos}`, qos, shared, COUNT)
      // These come behind the others, also behind a second copy of one of them.
      await publishNumbers(peer.client, `all/${qos}`, qos, common[0]!, COUNT)
      await crew.completed(`one/${qos}`, COUNT)
      await crew.completed(`all/${qos}`, COUNT * SIZE)

      for (const ledger of common.slice(1)) for (let n = 1; n <= COUNT; n++) ledger.confirmed(ledger.next())
      for (const { topic, slot, n } of crew.handled()) {
        if (topic === `one/${qos}`) shared.received(n)
        if (topic === `all/${qos}`) common[slot]!.received(n)
      }
      const shares = crew.shares(`one/${qos}`)
      const { lost, duplicated, foreign } = shared.report()
      t.comment(`${nameOf(version)}, QoS ${qos}: ${JSON.stringify({ ...shared.counts, shares, lost: lost.length, duplicated: duplicated.length })}`)
      t.strictSame({ lost, duplicated, foreign }, { lost: [], duplicated: [], foreign: [] }, 'exactly one of them')
      t.ok(shares.every(share => share > 0), `all take part: ${shares.join(', ')}`)
      for (const [slot, ledger] of common.entries()) {
        const { lost, duplicated, foreign } = ledger.report()
        t.strictSame({ lost, duplicated, foreign }, { lost: [], duplicated: [], foreign: [] }, `process ${slot} has all of what is for all`)
      }
      t.strictSame(outOfOrder(crew, qos), [], 'a process has the messages of a topic in order')
    })
  }

  await t.test('publishing over HTTP, whichever process answers', async t => {
    const inbox = await peer.messages('http/+', { qos: 1 })
    const ports = new Set<number>()
    for (const member of crew.members) ports.add((await member.ask('tell', [])).port)
    t.equal(ports.size, 1, 'they share one port')
    const [port] = ports
    const answered = await Promise.all(Array.from({ length: 40 }, async (_, n) => {
      // A connection for each, since it is connections that node:cluster hands out in turn.
      const response = await fetch(`http://127.0.0.1:${port}/publish/${n}`, { method: 'POST', headers: { connection: 'close' } })
      return Number(await response.text())
    }))
    await waitFor(() => inbox.all.length >= 40, 'what was published')
    t.strictSame(new Set(inbox.all.map(({ topic }) => topic)).size, 40)
    t.equal(inbox.all.length, 40, 'each once')
    t.strictSame(new Set(answered), new Set(crew.members.keys()), 'all take part')
  })

  await t.test('no process is in the way of another', async t => {
    const told = await Promise.all(crew.members.map(async member => member.ask('tell', [])))
    const ids = told.map(({ clientId }) => clientId)
    t.equal(new Set(ids).size, SIZE, `client ids: ${ids.join(', ')}`)
    for (const { clientId, status: { counters } } of told) {
      t.match(counters, { reconnects: 0, failed: 0, unmatched: 0, dropped: 0 }, clientId)
    }
    t.equal(told.reduce((sum, { status }) => sum + status.counters.received, 0), 3 * COUNT * (1 + SIZE), 'not one copy too many came')
    t.match(broker.log(), new RegExp(`New client connected .* as ${ids[0]!} `), 'the log is there')
    t.notMatch(broker.log(), /already connected|taken over/, 'the broker saw no take-over')
  })
}

/** The messages that a process had behind a later one of the same topic. */
function outOfOrder (crew: Crew, qos: number): string[] {
  const last = new Map<string, number>()
  return crew.handled().filter(({ topic }) => topic.endsWith(`/${qos}`)).map(({ slot, topic, lane, n }) => {
    const key = `process ${slot}: ${topic}/${lane}`
    const late = n < (last.get(key) ?? 0)
    last.set(key, n)
    return late ? `${key} ${n}` : ''
  }).filter(text => text !== '')
}
