import type { FastifyInstance } from 'fastify'
import t, { type Test } from 'tap'
import type { MqttError } from '../../lib/index.ts'
import type { Tap } from '../../lib/wire/tap.ts'
import { live } from '../support/app.ts'
import { connectClient } from '../support/client.ts'
import { waitFor, withinTime } from '../support/events.ts'
import { Ledger } from '../support/ledger.ts'
import { Gates } from './gates.ts'
import { SlowMachine } from './fixtures/slow-machine.ts'
import { liveApp } from './scripted-app.ts'
import type { Script } from './scripted-broker.ts'
import { add, keptSession, nameOf, settledLedger, skip, stage, VERSIONS, witness, type Stage, type Tally, type Version } from './fixtures/storms.ts'

/*
 * P12: a link whose other end has gone without a word is found within 1.5 x keepalive of the last byte of the broker,
 * whatever we send into it meanwhile. When the broker is back, nothing is missing.
 */

t.setTimeout(120_000)

/** Milliseconds that timers may be late, besides what the machine holds us up. */
const MARGIN = 300
const machine = new SlowMachine()

const FAULTS = {
  'mosquitto stopped': { begin: ({ broker }: Stage) => broker.pause(), end: ({ broker }: Stage) => broker.resume() },
  'a black hole': { begin: ({ proxy }: Stage) => proxy.blackHole(true), end: ({ proxy }: Stage) => proxy.blackHole(false) }
}

/** Messages every few milliseconds until `stop`, which resolves when each has settled. */
interface Traffic {
  stop (): Promise<void>
}

type Start = (t: Test, stage: Stage, ledger: Ledger, rejected: Tally) => Promise<Traffic>

const TRAFFIC: Record<string, Start> = {
  idle: async () => ({ stop: async () => {} }),
  'publishes in flight': async (t, { app, broker }, ledger, rejected) => {
    await witness(t, broker, 'out', ledger)
    return steady(t, () => [
      app.mqtt.publish('other', '', { qos: 0 }).catch(() => {}),
      ...([1, 2] as const).map(qos => {
        const n = ledger.next()
        return app.mqtt.publish('out', n, { qos }).then(() => ledger.confirmed(n), (error: MqttError) => add(rejected, error.code))
      })
    ])
  },
  receiving: async (t, { broker }, ledger) => {
    const { client } = await connectClient(t, broker.url)
    return steady(t, () => {
      const n = ledger.next()
      return [client.publishAsync('in', String(n), { qos: 1 }).then(() => ledger.confirmed(n))]
    })
  }
}

function steady (t: Test, send: () => Array<Promise<unknown>>): Traffic {
  const running: Array<Promise<unknown>> = []
  const timer = setInterval(() => { running.push(...send()) }, 10)
  t.after(() => clearInterval(timer))
  return {
    async stop () {
      clearInterval(timer)
      await withinTime(Promise.all(running), 'the end of all publishes')
    }
  }
}

for (const version of VERSIONS) {
  t.test(`P12: ${nameOf(version)}: found within 1.5 x keepalive, and nothing lost`, { skip }, async t => {
    const cases: Array<Promise<void>> = []
    for (const keepalive of [1, 2]) {
      for (const fault of Object.keys(FAULTS) as Array<keyof typeof FAULTS>) {
        for (const traffic of Object.keys(TRAFFIC)) cases.push(find(t, version, keepalive, fault, traffic))
      }
    }
    await Promise.all(cases)
  })

  t.test(`P12: ${nameOf(version)}: a full inbox is not read, so the finding waits until reading goes on`, { skip }, async t => {
    await Promise.all([
      findWhenRead(t, version, 'a handler has ended', (_app, gates) => gates.open('all')),
      findWhenRead(t, version, 'a publish of our own waits for its answer', app => { app.mqtt.publish('out', '', { qos: 1 }).catch(() => {}) })
    ])
  })
}

t.test('P12: a link is alive when the answer to a ping is late behind what the broker has to send', async t => {
  let received = 0
  const { app, broker } = await liveApp(t, {
    // The fault itself: later than half of keepalive.
    onPing: (_packet, connection) => {
      setTimeout(() => connection.send({ cmd: 'pingresp' }), 700)
      return false
    }
  }, { keepalive: 1 }, app => { app.mqtt.topic('in', () => { received++ }) })
  const connection = broker.last
  const timer = setInterval(() => connection.deliver({ topic: 'in' }), 50)
  t.after(() => clearInterval(timer))
  await waitFor(() => connection.closed || connection.of('pingreq').length >= 4, 'four pings, or the end')
  t.equal(connection.closed, false)
  t.equal(app.mqtt.connected, true)
  t.comment(`${received} messages, ${connection.of('pingreq').length} pings, ${broker.connections.length} connection`)
})

t.test('P12: keepalive 0 turns it off', async t => {
  const silent: Script = { onPing: () => false }
  const [none, other] = await Promise.all([0, 1].map(keepalive => liveApp(t, silent, { keepalive })))
  t.equal(none!.broker.last.connect!.keepalive, 0)
  // As long as the other takes to find its broker silent, twice.
  await other!.broker.connection(2)
  t.equal(none!.broker.connections.length, 1)
  t.equal(none!.broker.last.of('pingreq').length, 0)
  t.equal(none!.app.mqtt.connected, true)
})

t.test('P12: keepalive 0, and a broker that does not end a connection behind DISCONNECT', async t => {
  const count = 2_000
  const gates = new Gates()
  const { app, broker } = await liveApp(t, { onPublish: () => false }, { ...keptSession(), keepalive: 0, publishTimeout: 100, inbox: { maxMessages: 10 } }, app => {
    app.mqtt.topic('in/+', { qos: 1 }, async () => {
      app.mqtt.publish('own', '', { qos: 1 }).catch(() => {})
      await gates.wait('in')
    })
  })
  const { last: connection } = broker
  connection.socket.end = () => connection.socket
  connection.deliver(...Array.from({ length: count }, (_, i) => ({ topic: `in/${i}`, qos: 1 as const, messageId: i + 1 })))
  await waitFor(() => app.mqtt.status().inbox.messages > 1_000, 'more than the limit')
  gates.open('in')
  await connection.until('disconnect')
  await broker.connection(1)
  await waitFor(() => app.mqtt.connected, 'the way back')
})

async function findWhenRead (t: Test, version: Version, why: string, goOn: (app: FastifyInstance, gates: Gates) => void): Promise<void> {
  const title = `${nameOf(version)}, ${why}`
  const keepalive = 1
  const { app, broker } = await stage(t, version, { ...keptSession(), keepalive, connectTimeout: 500, inbox: { maxMessages: 5 }, concurrency: 1 })
  const gates = new Gates()
  const ledger = new Ledger()
  app.mqtt.topic('in', { qos: 1 }, async message => {
    await gates.wait('all')
    ledger.received(Number(message.text()))
  })
  await app.ready()
  await live(app)
  const { client } = await connectClient(t, broker.url)
  for (let i = 0; i < 15; i++) {
    const n = ledger.next()
    await client.publishAsync('in', String(n), { qos: 1 })
    ledger.confirmed(n)
  }
  await waitFor(() => app.mqtt.status().inbox.messages >= 5, 'a full inbox')
  broker.pause()
  // That nothing happens in this time is what is tested: while we do not read, silence proves nothing.
  await new Promise(resolve => { setTimeout(resolve, 2_000 * keepalive) })
  t.equal(app.mqtt.connected, true, title)
  goOn(app, gates)
  const since = performance.now() - machine.held
  await waitFor(() => !app.mqtt.connected, `the finding: ${title}`)
  const took = Math.round(performance.now() - machine.held - since)
  t.ok(took <= 1_500 * keepalive + MARGIN, `${title}: found ${took} ms after it`)
  gates.open('all')
  broker.resume()
  await live(app)
  await settledLedger(ledger)
  t.strictSame(ledger.report().lost, [], title)
  t.comment(`${title}: found after ${took} ms`)
}

async function find (t: Test, version: Version, keepalive: number, fault: keyof typeof FAULTS, traffic: string): Promise<void> {
  const title = `${nameOf(version)}, keepalive ${keepalive}, ${fault}, ${traffic}`
  const set = await stage(t, version, { ...keptSession(), keepalive, connectTimeout: 500, publishTimeout: 0 })
  const { app, proxy } = set
  const ledger = new Ledger()
  const rejected: Tally = {}
  app.mqtt.topic('in', { qos: 1 }, message => { ledger.received(Number(message.text())) })
  await app.ready()
  await live(app)
  const running = await TRAFFIC[traffic]!(t, set, ledger, rejected)
  const last = lastByte(app)
  // The worst moment: the next ping is as far away as can be.
  await pingresp(app)
  FAULTS[fault].begin(set)
  await waitFor(() => !app.mqtt.connected, `the finding: ${title}`)
  const took = Math.round(performance.now() - machine.held - last())
  t.ok(took <= 1_500 * keepalive + MARGIN, `${title}: found ${took} ms after the last byte`)
  await waitFor(() => app.mqtt.state !== 'connected', 'the state')
  const { state, lastError } = app.mqtt.status()
  t.equal(state, 'reconnecting', title)
  t.match(lastError, { code: String, message: /keepalive/i }, title)
  // The next attempt meets the same end.
  const attempts = proxy.connections.length
  await waitFor(() => proxy.connections.length > attempts, 'an attempt')
  t.equal(app.mqtt.connected, false, title)
  FAULTS[fault].end(set)
  await waitFor(() => app.mqtt.connected, `the way back: ${title}`)
  await running.stop()
  await settledLedger(ledger)
  const { lost, foreign } = ledger.report()
  t.strictSame({ lost, foreign, rejected }, { lost: [], foreign: [], rejected: {} }, title)
  t.comment(`${title}: found after ${took} ms; ${JSON.stringify({ ...ledger.counts, lost: lost.length })}`)
}

/** Tells when the last byte of the broker came in, on the connection of this moment. */
function lastByte (app: FastifyInstance): () => number {
  let last = performance.now() - machine.held
  // The stream of mqtt.js is ours, around the real socket.
  const { socket } = app.mqtt.client.stream as unknown as Tap
  socket.on('data', () => { last = performance.now() - machine.held })
  return () => last
}

async function pingresp (app: FastifyInstance): Promise<void> {
  await withinTime(new Promise<void>(resolve => {
    const look = ({ cmd }: { cmd: string }): void => {
      if (cmd !== 'pingresp') return
      app.mqtt.client.off('packetreceive', look)
      resolve()
    }
    app.mqtt.client.on('packetreceive', look)
  }), 'PINGRESP')
}
