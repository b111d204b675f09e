import type { MqttClient } from 'mqtt'
import t, { type Test } from 'tap'
import { connectClient } from '../support/client.ts'
import { waitFor } from '../support/events.ts'
import { Ledger } from '../support/ledger.ts'
import { startMosquitto } from '../support/mosquitto.ts'
import { keptSession, nameOf, skip, VERSIONS, type Version } from '../faults/fixtures/storms.ts'
import { Crew, type CrewOptions } from './fixtures/crew.ts'
import { LANES, publishNumbers } from './fixtures/publish.ts'

/* kill -9 of one of four processes while its handlers run. */

t.setTimeout(300_000)

const SIZE = 4
/** Milliseconds that a handler takes at most: long enough that there always are some to be killed in. */
const WORK = 100
/** How many are published before and after a process dies for long. */
const COUNT = 400

for (const version of VERSIONS) {
  t.test(`kept sessions: ${nameOf(version)}`, { skip }, async t => {
    const { url } = await startMosquitto(t)
    const base = keptSession()
    const crew = await startCrew(t, slot => ({ ...base, clientId: `${base.clientId as string}-${slot}`, url, protocolVersion: version }))
    const { client } = await connectClient(t, url)
    await t.test('killed, and soon back', t => killAndReturn(t, crew, client, nameOf(version)))
    await idle(crew, client)
    crew.forget()
    await t.test('killed, and away for a while', t => stayAway(t, crew, client, nameOf(version)))
    await idle(crew, client)
    crew.forget()
    await t.test('taken out for good', t => retire(t, crew, client, nameOf(version)))
  })
  t.test(`sessions that are not kept: ${nameOf(version)}`, { skip }, t => leaveForGood(t, version))
}

async function startCrew (t: Test, options: CrewOptions['options']): Promise<Crew> {
  return await new Crew(t, { size: SIZE, work: WORK, options }).start()
}

/** Promise P6 for a group: whoever is killed, what was confirmed to the publisher is handled in the end. */
async function killAndReturn (t: Test, crew: Crew, client: MqttClient, name: string): Promise<void> {
  const rounds = 3
  const ledgers = { 1: new Ledger(), 2: new Ledger() }
  const end = new AbortController()
  const publishers = ([1, 2] as const).map(async qos => {
    while (!end.signal.aborted) {
      await publishNumbers(client, `one/${qos}`, qos, ledgers[qos], 10)
      // The pace of the publisher: there has to be something at any time of death.
      await new Promise(resolve => { setTimeout(resolve, 40) })
    }
  })
  for (let round = 0; round < rounds; round++) {
    // The time of death is the fault. It falls into handlers: there always are messages, and each takes its time.
    await new Promise(resolve => { setTimeout(resolve, 50 + Math.random() * 200) })
    await crew.members[round]!.kill()
    await crew.startOne(round)
  }
  end.abort()
  await Promise.all(publishers)

  for (const qos of [1, 2] as const) {
    const topic = `one/${qos}`
    await crew.completedAll(topic, ledgers[qos].counts.sent)
    const { lost, duplicated, foreign } = report(crew, topic, ledgers[qos])
    t.comment(`${name}, QoS ${qos}, ${rounds} kills: ${JSON.stringify({ ...ledgers[qos].counts, lost: lost.length, duplicated: duplicated.length, shares: crew.shares(topic) })}`)
    t.strictSame({ lost, foreign }, { lost: [], foreign: [] }, `QoS ${qos}`)
    t.ok(crew.shares(topic).every(share => share > 0), 'all take part')
  }
}

/** What the broker does with the share of a process that is away, and that nothing of it is lost. */
async function stayAway (t: Test, crew: Crew, client: MqttClient, name: string): Promise<void> {
  const ledger = new Ledger()
  await killInHandlers(crew, client, ledger)
  const before = ledger.counts.sent
  await publishNumbers(client, 'one/1', 1, ledger, COUNT)
  await idle(crew, client)

  const done = new Set(crew.handledOf('one/1').map(({ n }) => n))
  const waiting = Array.from({ length: ledger.counts.sent }, (_, i) => i + 1).filter(n => !done.has(n))
  await crew.startOne(0)
  await crew.completedAll('one/1', ledger.counts.sent)
  const { lost, duplicated, foreign } = report(crew, 'one/1', ledger)
  t.comment(`${name}: ${JSON.stringify({
    ...ledger.counts,
    waitingFromBefore: waiting.filter(n => n <= before).length,
    waitingFromThen: waiting.filter(n => n > before).length,
    lost: lost.length,
    duplicated: duplicated.length
  })}`)
  t.ok(waiting.length > 0, 'the broker keeps for it what it has not come to the end of')
  t.strictSame({ lost, foreign }, { lost: [], foreign: [] }, 'all is handled when it is back')
}

/** A process leaves a group without a kill: what the broker has given it, it handles, and then there is nothing of it left. */
async function retire (t: Test, crew: Crew, client: MqttClient, name: string): Promise<void> {
  const ledger = new Ledger()
  const publishing = publishNumbers(client, 'one/1', 1, ledger, COUNT)
  await waitFor(() => crew.shares('one/1').every(share => share > 0), 'the first to be handled')
  await Promise.all([crew.members[0]!.ask('retire', []), publishing])
  const before = crew.shares('one/1')
  await publishNumbers(client, 'one/1', 1, ledger, COUNT)
  await crew.completedAll('one/1', ledger.counts.sent)

  const { lost, duplicated, foreign } = report(crew, 'one/1', ledger)
  t.comment(`${name}: ${JSON.stringify({ ...ledger.counts, before, shares: crew.shares('one/1') })}`)
  t.strictSame({ lost, duplicated, foreign }, { lost: [], duplicated: [], foreign: [] })
  t.equal(crew.shares('one/1')[0], before[0], 'nothing goes to who has left')
}

/** Without a session the broker forgets what the dead process had; the others have all that comes from then on. */
async function leaveForGood (t: Test, version: Version): Promise<void> {
  // Its standard output it would keep to itself until it ends.
  const broker = await startMosquitto(t, { config: ['log_dest stderr'] })
  const crew = await startCrew(t, () => ({ url: broker.url, protocolVersion: version }))
  const { client } = await connectClient(t, broker.url)
  const ledger = new Ledger()
  const { clientId } = await crew.members[0]!.ask('tell', [])
  await killInHandlers(crew, client, ledger)
  await waitFor(() => broker.log().includes(`${clientId} closed its connection`), 'the broker to notice')
  const before = ledger.counts.sent
  await publishNumbers(client, 'one/1', 1, ledger, COUNT)
  await idle(crew, client)

  const { lost, duplicated, foreign } = report(crew, 'one/1', ledger)
  t.comment(`${nameOf(version)}: ${JSON.stringify({ ...ledger.counts, lostFromBefore: lost.length, duplicated: duplicated.length })}`)
  t.strictSame(lost.filter(n => n > before), [], 'nothing goes to the dead')
  t.strictSame({ duplicated, foreign }, { duplicated: [], foreign: [] }, 'and nothing to two')
}

/** What went to the group, held against what its handlers have completed. */
function report (crew: Crew, topic: string, ledger: Ledger): ReturnType<Ledger['report']> {
  for (const { n } of crew.handledOf(topic)) ledger.received(n)
  return ledger.report()
}

/** Kills the first process when it has begun with more than it has completed. */
async function killInHandlers (crew: Crew, client: MqttClient, ledger: Ledger): Promise<void> {
  const publishing = publishNumbers(client, 'one/1', 1, ledger, COUNT)
  await waitFor(() => crew.shares('one/1').every(share => share > 0), 'the first to be handled')
  await crew.members[0]!.kill()
  await publishing
}

/** Resolves when the processes that live have come to the end of all that was published so far. */
async function idle (crew: Crew, client: MqttClient): Promise<void> {
  const living = crew.members.filter(({ alive }) => alive)
  const barrier = new Ledger()
  // To each of them, behind all else of this QoS.
  await publishNumbers(client, 'all/1', 1, barrier, LANES)
  await crew.completed('all/1', LANES * living.length)
  await waitFor(async () => {
    const told = await Promise.all(living.map(async member => member.ask('tell', [])))
    return told.every(({ status }) => status.inbox.messages === 0)
  }, 'an end of handlers')
}
