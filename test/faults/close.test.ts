import t, { type Test } from 'tap'
import type { MqttPluginOptions } from '../../lib/index.ts'
import { buildApp, live } from '../support/app.ts'
import { connectClient } from '../support/client.ts'
import { waitFor } from '../support/events.ts'
import { Ledger } from '../support/ledger.ts'
import { startMosquitto, type Mosquitto } from '../support/mosquitto.ts'
import { freePort } from '../support/ports.ts'
import { ClosingProcess, type CloseOrders, type CloseReport } from './fixtures/close.ts'
import { keptSession, nameOf, settledLedger, skip, total, VERSIONS, witness, type Version } from './fixtures/storms.ts'
import { startProxy } from './proxy.ts'
import { liveApp, outcome } from './scripted-app.ts'
import { startScriptedBroker } from './scripted-broker.ts'

/*
 * P18: `close()` ends in time in each state, everything published has settled by then, a healthy broker has all of it,
 * and the process, which has nothing left to live for, ends by itself.
 */

t.setTimeout(240_000)

/** Milliseconds that timers may be late, with ten thousand promises to settle. */
const MARGIN = 1_000
const MANY = 10_000
/** Long enough for a healthy broker to confirm all of it on a loaded machine. */
const AMPLE = 20_000
const SHORT = 1_000

/** Where an application closes, and what all of them have in common. */
class Closer {
  readonly version: Version
  readonly #process: ClosingProcess

  constructor (t: Test, version: Version) {
    this.version = version
    this.#process = new ClosingProcess(t)
  }

  /** Lets an application close in its scene, and checks what holds in all of them. */
  async close (t: Test, url: string, { scene, options, ...rest }: Orders, fault?: () => Promise<void> | void): Promise<CloseReport> {
    const closeTimeout = options?.closeTimeout ?? SHORT
    const report = await this.#process.close({ scene, ...rest, options: { url, protocolVersion: this.version, publishTimeout: 0, ...options, closeTimeout } }, fault)
    const { took, state, published, tally } = report
    const title = `${nameOf(this.version)}, ${scene}${rest.qos === undefined ? '' : `, QoS ${rest.qos}`}`
    t.ok(took <= closeTimeout + MARGIN, `${title}: close() took ${took} ms`)
    t.equal(state, 'closed', title)
    t.equal(total(tally), published, `${title}: every publish had settled`)
    t.comment(`${title}: ${JSON.stringify({ took, published, ...tally })}`)
    return report
  }

  /** Nothing of all that has closed keeps the process. */
  async end (t: Test): Promise<void> {
    const { code, lingered } = await this.#process.end()
    t.equal(code, 0)
    t.ok(lingered <= 1_000 + MARGIN, `the process ended by itself after ${lingered} ms`)
    t.comment(`${nameOf(this.version)}: the process ended by itself after ${lingered} ms`)
  }
}

interface Orders extends Omit<CloseOrders, 'options'> {
  options?: MqttPluginOptions
}

/** What comes out at a client that is on the broker itself. */
interface Watched {
  ledger: Ledger
  seen: ReadonlySet<number>
}

async function watched (t: Test, broker: Mosquitto): Promise<Watched> {
  const ledger = new Ledger()
  return { ledger, seen: await witness(t, broker, 'out', ledger) }
}

/** Holds what came out against what was confirmed. */
async function complete (t: Test, { ledger, seen }: Watched, { confirmed, unsent }: CloseReport): Promise<void> {
  for (const n of confirmed) ledger.confirmed(n)
  await settledLedger(ledger)
  t.strictSame(ledger.report().lost, [], 'nothing confirmed is lost')
  t.strictSame(unsent.filter(n => seen.has(n)), [], 'what was not sent did not arrive')
}

for (const version of VERSIONS) {
  t.test(`P18: ${nameOf(version)}, a healthy broker`, { skip }, t => {
    const closer = new Closer(t, version)
    t.test('nothing to do', async t => {
      const { url } = await startMosquitto(t)
      for (const scene of ['idle', 'listening', 'twice']) await closer.close(t, url, { scene, count: scene === 'twice' ? 100 : 0 })
    })

    for (const qos of [1, 2] as const) {
      t.test(`10 000 publishes in flight, QoS ${qos}: all confirmed`, async t => {
        const broker = await startMosquitto(t)
        const out = await watched(t, broker)
        const closed = await closer.close(t, broker.url, { scene: 'in flight', qos, count: MANY, options: { closeTimeout: AMPLE } })
        t.strictSame(closed.tally, { confirmed: MANY })
        await complete(t, out, closed)
        t.equal(out.seen.size, MANY)
        if (qos === 2) t.strictSame(out.ledger.report().duplicated, [])
      })
    }

    t.test('a reset in the middle of 300 publishes: all confirmed', async t => {
      const broker = await startMosquitto(t)
      const proxy = await startProxy(t, broker.port)
      for (const [direction, cmd, nth, where] of [['up', 'publish', 150, 'after'], ['down', 'pubcomp', 50, 'before']] as const) {
        const out = await watched(t, broker)
        const from = proxy.counted(direction, cmd)
        const cut = proxy.cutWhen(packet => packet.direction === direction && packet.cmd === cmd && packet.nth >= from + nth ? where : undefined)
        const closed = await closer.close(t, proxy.url, { scene: 'in flight, mixed', count: 300, options: { ...keptSession(), closeTimeout: AMPLE } })
        await cut
        t.strictSame(closed.tally, { confirmed: 300 }, `${where} ${cmd} ${nth}`)
        await complete(t, out, closed)
        t.equal(out.seen.size, 300)
      }
    })

    t.test('while reconnecting, 300 publishes: all confirmed', async t => {
      const broker = await startMosquitto(t)
      const proxy = await startProxy(t, broker.port)
      const out = await watched(t, broker)
      const closed = await closer.close(t, proxy.url, { scene: 'reconnecting', count: 300, options: { closeTimeout: AMPLE } }, () => proxy.reset())
      t.strictSame(closed.tally, { confirmed: 300 })
      await complete(t, out, closed)
      t.equal(out.seen.size, 300)
    })

    t.test('workers publishing: every publish of theirs settles, what was confirmed is there', async t => {
      for (const qos of [1, 2] as const) {
        const broker = await startMosquitto(t)
        const out = await watched(t, broker)
        const closed = await closer.close(t, broker.url, { scene: 'workers', qos, count: 300, options: { closeTimeout: AMPLE } })
        t.ok(closed.confirmed.length >= 300)
        t.strictSame(Object.keys(closed.tally).filter(key => key !== 'confirmed' && key !== 'FST_MQTT_CLOSED false'), [], 'nothing else became of any')
        await complete(t, out, closed)
        t.equal(out.seen.size, closed.confirmed.length)
      }
    })

    t.test('the process ends by itself', t => closer.end(t))
    t.end()
  })

  t.test(`P18: ${nameOf(version)}, no healthy broker`, { skip }, t => {
    const closer = new Closer(t, version)
    t.test('mosquitto stopped, 10 000 in flight', async t => {
      for (const qos of [1, 2] as const) {
        const broker = await startMosquitto(t)
        const out = await watched(t, broker)
        const closed = await closer.close(t, broker.url, { scene: 'broker gone', qos, count: MANY }, () => broker.pause())
        t.strictSame(closed.confirmed, [])
        t.strictSame(Object.keys(closed.tally).sort(), ['FST_MQTT_CLOSED false', 'FST_MQTT_CLOSED true'])
        broker.resume()
        // What was written may arrive now; on MQTT 3.1.1 and at QoS 2 it need not.
        await waitFor(() => out.seen.size >= MANY - closed.unsent.length, 'what was written', { within: 1_000 }).catch(() => {})
        await complete(t, out, closed)
      }
    })

    t.test('mosquitto killed, 10 000 waiting', async t => {
      const broker = await startMosquitto(t)
      const closed = await closer.close(t, broker.url, { scene: 'broker gone', count: MANY }, () => broker.kill())
      t.strictSame(closed.confirmed, [])
    })

    t.test('nobody has ever listened, 10 000 waiting', async t => {
      const url = `mqtt://127.0.0.1:${await freePort()}`
      for (const scene of ['connecting', 'before ready', 'during ready']) {
        const closed = await closer.close(t, url, { scene, count: MANY })
        t.strictSame(closed.tally, { 'FST_MQTT_CLOSED false': MANY }, scene)
      }
    })

    t.test('a broker that says nothing', async t => {
      const { url } = await startScriptedBroker(t, { onConnect: () => false })
      for (const options of [{}, { waitForConnection: 300 }]) {
        const closed = await closer.close(t, url, { scene: 'during ready', count: 100, options })
        t.strictSame(closed.tally, { 'FST_MQTT_CLOSED false': 100 })
      }
    })

    t.test('a broker that refuses', async t => {
      const { url } = await startScriptedBroker(t, { onConnect: () => version === 5 ? { reasonCode: 0x87 } : { returnCode: 5 } })
      const closed = await closer.close(t, url, { scene: 'connecting', count: 100 })
      t.strictSame(closed.tally, { 'FST_MQTT_CLOSED false': 100 })
    })

    t.test('a broker that takes everything and answers nothing, to the DISCONNECT either', async t => {
      const { url } = await startScriptedBroker(t, { onPublish: (_packet, { socket }) => { socket.pause(); return false } })
      const closed = await closer.close(t, url, { scene: 'in flight', count: 100 })
      t.strictSame(closed.confirmed, [])
    })

    t.test('the process ends by itself', t => closer.end(t))
    t.end()
  })

  t.test(`P18: ${nameOf(version)}, messages in the application`, { skip }, t => {
    const closer = new Closer(t, version)
    t.test('closing over a reconnect: what was handled is acknowledged when it comes again', async t => {
      let asked: number | undefined
      let closed: Promise<undefined> | undefined
      const { app, broker } = await liveApp(t, {
        onConnect: (_packet, connection) => {
          if (connection.index === 0) return { sessionPresent: false }
          setImmediate(() => connection.deliver({ topic: 'in', qos: 2, messageId: 7, dup: true }))
          return { sessionPresent: true }
        },
        onPublish: ({ messageId }) => {
          asked = messageId
          return false
        },
        onPubrec: (_packet, connection) => {
          // As if it had not arrived; the second time the application gets what it waits for, too.
          if (connection.index === 0) connection.drop()
          else connection.send({ cmd: 'pubrel', messageId: 7 }, { cmd: 'puback', messageId: asked! })
          return false
        }
      }, { ...keptSession(), protocolVersion: version, closeTimeout: SHORT }, app => {
        app.mqtt.topic('in', { qos: 2 }, () => {
          handled++
          closed = app.close()
        })
      })
      let handled = 0
      const own = outcome(app.mqtt.publish('out', '', { qos: 1 }))
      await broker.last.until('publish')
      broker.last.deliver({ topic: 'in', qos: 2, messageId: 7 })
      await waitFor(() => closed !== undefined, 'the handler')
      await closed
      t.equal(handled, 1)
      t.equal(broker.connections.length, 2)
      t.match(broker.last.of('pubrec'), [{ messageId: 7 }], 'the next application need not handle it again')
      t.match(await own, { code: 'ok' })
    })

    t.test('no time to close in, or none left: DISCONNECT is sent all the same, so the will is not', async t => {
      for (const closeTimeout of [0, 200]) {
        const { app, broker } = await liveApp(t, { onPublish: () => false }, { protocolVersion: version, closeTimeout, will: { topic: 'will', payload: 'gone' } })
        const own = closeTimeout > 0 ? outcome(app.mqtt.publish('out', '', { qos: 1 })) : undefined
        if (own !== undefined) await broker.last.until('publish')
        const from = performance.now()
        await app.close()
        const took = Math.round(performance.now() - from)
        t.ok(took <= closeTimeout + MARGIN, `closeTimeout ${closeTimeout}: ${took} ms`)
        await broker.last.end()
        t.equal(broker.last.received.at(-1)!.cmd, 'disconnect')
        t.equal(broker.connections.length, 1)
        if (own !== undefined) t.match(await own, { code: 'FST_MQTT_CLOSED', maybeSent: true })
        t.comment(`${nameOf(version)}, closeTimeout ${closeTimeout}: ${took} ms`)
      }
    })

    for (const qos of [1, 2] as const) {
      t.test(`a backlog of QoS ${qos} is being redelivered: what was handled is acknowledged, the rest comes again`, async t => {
        for (const config of [['max_inflight_messages 0'], []]) {
          const count = 3_000
          const { broker, options, ledger } = await backlog(t, version, config, 'in/<int:n>', Array.from({ length: count }, (_, n) => `in/${n + 1}`), qos)
          const { handled } = await closer.close(t, broker.url, { scene: 'redelivering', qos, count: 300, options: { ...options, concurrency: 8 } })
          t.ok(handled.length >= 300 && handled.length < count, `closed in the middle: ${handled.length} were handled`)
          for (const n of handled) ledger.received(n)
          await rest(t, version, broker, options, 'in/<int:n>', qos, ledger)
          const { lost, duplicated, foreign } = ledger.report()
          t.strictSame({ lost, foreign }, { lost: [], foreign: [] })
          // Of a healthy broker: no connection was lost, so there was no reason to send anything twice.
          t.strictSame(duplicated, [])
          t.comment(`${nameOf(version)}, QoS ${qos}, ${config.join() || 'the window of mosquitto'}: ${JSON.stringify({ ...ledger.counts, before: handled.length, lost: lost.length, duplicated: duplicated.length })}`)
        }
      })

      for (const ackOrder of ['received', 'handled'] as const) {
        t.test(`running handlers that end, hang, or heed the signal; QoS ${qos}, acknowledged in the order '${ackOrder}'`, async t => {
          const ways = ['end', 'heed', 'hang', 'end', 'heed', 'end']
          const topics = ways.map((way, i) => `in/${way}/${i + 1}`)
          const { broker, options, ledger } = await backlog(t, version, [], 'in/+/<int:n>', topics, qos)
          const { handled } = await closer.close(t, broker.url, { scene: 'handlers', qos, count: ways.length, options: { ...options, ackOrder } })
          t.strictSame(handled.sort((a, b) => a - b), [1, 4, 6], 'those that end by themselves did')
          for (const n of handled) ledger.received(n)
          await rest(t, version, broker, options, 'in/+/<int:n>', qos, ledger)
          const { lost, duplicated } = ledger.report()
          t.comment(`${nameOf(version)}, QoS ${qos}, ${ackOrder}: ${JSON.stringify({ ...ledger.counts, lost, duplicated })}`)
          t.strictSame(lost, [])
          t.strictSame(duplicated, [], 'what was handled does not come again')
        })
      }
    }

    t.test('the process ends by itself', t => closer.end(t))
    t.end()
  })
}

/** The same filters in each application: a kept session remembers those of the one before. */
type Pattern = 'in/<int:n>' | 'in/+/<int:n>'

interface Backlog {
  broker: Mosquitto
  options: MqttPluginOptions
  ledger: Ledger
}

/** Messages that a kept session finds at its next connection, numbered by the last level of their topics. */
async function backlog (t: Test, version: Version, config: string[], pattern: Pattern, topics: string[], qos: 1 | 2): Promise<Backlog> {
  const broker = await startMosquitto(t, { config })
  const options = { ...keptSession(), closeTimeout: 2 * SHORT }
  const { app } = await buildApp(t, { url: broker.url, protocolVersion: version, ...options })
  const route = app.mqtt.topic(pattern, { qos }, () => {})
  await app.ready()
  await route.subscribed
  await app.close()
  const ledger = new Ledger()
  const { client } = await connectClient(t, broker.url)
  // Never more at once than mosquitto takes of a client.
  for (let from = 0; from < topics.length; from += 10) {
    await Promise.all(topics.slice(from, from + 10).map(topic => {
      const n = ledger.next()
      return client.publishAsync(topic, '', { qos }).then(() => { ledger.confirmed(n) })
    }))
  }
  return { broker, options, ledger }
}

/** The next application of the session takes what is left. */
async function rest (t: Test, version: Version, broker: Mosquitto, options: MqttPluginOptions, pattern: Pattern, qos: 1 | 2, ledger: Ledger): Promise<void> {
  const { app } = await buildApp(t, { url: broker.url, protocolVersion: version, ...options })
  app.mqtt.topic(pattern, { qos }, message => { ledger.received((message.params as { n: number }).n) })
  await app.ready()
  await live(app)
  await settledLedger(ledger)
  // What comes twice lies behind it, and before the answer to this.
  await app.mqtt.publish('elsewhere', '', { qos: 2 })
  await waitFor(() => app.mqtt.status().inbox.messages === 0, 'the last handler')
}
