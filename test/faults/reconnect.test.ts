import type { FastifyInstance } from 'fastify'
import t, { type Test } from 'tap'
import type { MqttError, MqttPluginOptions } from '../../lib/index.ts'
import { buildApp } from '../support/app.ts'
import { waitFor, withinTime } from '../support/events.ts'
import { startMosquitto } from '../support/mosquitto.ts'
import { SlowMachine } from './fixtures/slow-machine.ts'
import { nameOf, skip, VERSIONS, type Version } from './fixtures/storms.ts'
import { startScriptedBroker, type ScriptedConnection } from './scripted-broker.ts'

/*
 * P11: whatever ends the attempts, they go on: each after a wait that is random below a ceiling which doubles up to
 * `reconnect.max`. Refused for good, the waits are long from the start. Once the broker is well, the application is back
 * within one period.
 */

t.setTimeout(120_000)

const RECONNECT = { min: 20, max: 640 }
const CONNECT_TIMEOUT = 250
/** Milliseconds that timers may be late, besides what the machine holds us up. */
const MARGIN = 300
const machine = new SlowMachine()
/** Without what the machine held us up. */
const clock = (): number => performance.now() - machine.held
/** The time, and how long the machine has held us up so far. */
const moment = (): Moment => ({ at: performance.now(), held: machine.held })

interface Moment {
  at: number
  held: number
}
/** Enough of them wait under the highest ceiling for their randomness to show. */
const ATTEMPTS = 14

/** Something that is wrong with a broker, until `heal`. */
interface Fault {
  options: MqttPluginOptions
  heal: () => Promise<void> | void
}

/** A broker that answers each CONNECT so until it is well; false: not at all. */
async function scripted (t: Test, answer: (connection: ScriptedConnection) => object | false | undefined): Promise<Fault> {
  let well = false
  const { url } = await startScriptedBroker(t, { onConnect: (_packet, connection) => well ? undefined : answer(connection) })
  return { options: { url }, heal: () => { well = true } }
}

async function stopped (t: Test): Promise<Fault> {
  const broker = await startMosquitto(t)
  await broker.kill()
  return { options: { url: broker.url }, heal: () => broker.start() }
}

const FAULTS: Record<string, (t: Test, version: Version) => Promise<Fault>> = {
  'server unavailable': (t, version) => scripted(t, () => version === 5 ? { reasonCode: 0x88 } : { returnCode: 3 }),
  'a listener that says nothing': async t => {
    const { options, heal } = await scripted(t, () => false)
    return { options: { ...options, connectTimeout: CONNECT_TIMEOUT }, heal }
  },
  'closed at once': t => scripted(t, ({ socket }) => { socket.end(); return false }),
  'reset at once': t => scripted(t, connection => { connection.drop(); return false }),
  'closed right after CONNACK': t => scripted(t, ({ socket }) => { setImmediate(() => socket.end()); return undefined }),
  'reset right after CONNACK': t => scripted(t, connection => { setImmediate(() => connection.drop()); return undefined })
}

/** When attempts began and ended. */
interface Watch {
  app: FastifyInstance
  began: Moment[]
  ended: Moment[]
  /** How long was waited before each attempt but the first. */
  waits: () => number[]
  /** The same without what the machine held us up. */
  unheld: () => number[]
}

async function watch (t: Test, options: MqttPluginOptions): Promise<Watch & { warnings: () => number }> {
  const began: Moment[] = []
  const ended: Moment[] = []
  const { app, logger } = await buildApp(t, {
    reconnect: RECONNECT,
    closeTimeout: 300,
    ...options,
    // Asked before each attempt, also of those that no broker sees.
    credentials: () => { began.push(moment()); return Promise.resolve({ username: 'u', password: 'p' }) }
  })
  app.mqtt.client.on('close', () => { ended.push(moment()) })
  return {
    app,
    began,
    ended,
    waits: () => began.slice(1).map(({ at }, i) => at - ended[i]!.at),
    unheld: () => began.slice(1).map(({ at, held }, i) => at - held - (ended[i]!.at - ended[i]!.held)),
    warnings: () => logger.lines.filter(({ level, line }) => level === 'warn' && line.includes('connection failed')).length
  }
}

/** The first `ATTEMPTS` and how they were spaced. */
async function isPolite (t: Test, title: string, { began, waits, unheld }: Watch): Promise<void> {
  await waitFor(() => began.length >= ATTEMPTS, `${ATTEMPTS} attempts: ${title}`)
  const first = waits().slice(0, ATTEMPTS - 1)
  const late = unheld().slice(0, ATTEMPTS - 1).filter((wait, i) => wait > Math.min(RECONNECT.max, RECONNECT.min * 2 ** i) + MARGIN)
  t.strictSame(late, [], `${title}: no wait is over its ceiling`)
  const highest = first.slice(5)
  // All eight in a tenth, or below a fifth: less than one in a hundred thousand.
  t.ok(Math.max(...highest) - Math.min(...highest) > RECONNECT.max / 10, `${title}: waits differ`)
  t.ok(Math.max(...highest) > RECONNECT.max / 5, `${title}: waits get long`)
  t.comment(`${title}: waits ${first.map(Math.round).join(' ')} ms`)
}

/** The broker is well from now on. */
async function isBack (t: Test, title: string, { app }: Watch, heal: Fault['heal'], period: number): Promise<void> {
  await heal()
  const since = clock()
  await app.mqtt.publish('probe', '', { qos: 1 })
  const took = Math.round(clock() - since)
  t.ok(took <= period + MARGIN, `${title}: back after ${took} ms`)
  t.equal(app.mqtt.state, 'connected', title)
  t.equal(app.mqtt.status().lastError, undefined, title)
}

for (const version of VERSIONS) {
  t.test(`P11: ${nameOf(version)}: attempts never stop, and are polite`, async t => {
    await Promise.all(Object.entries(FAULTS).map(async ([name, start]) => {
      const title = `${nameOf(version)}, ${name}`
      const { options, heal } = await start(t, version)
      const watched = await watch(t, { ...options, protocolVersion: version })
      const { app } = watched
      await app.ready()
      await isPolite(t, title, watched)
      // One that is closed right after CONNACK is up now and then.
      let told: unknown
      await waitFor(() => (told = app.mqtt.status().lastError) !== undefined, `an error: ${title}`)
      t.match(told, { code: String, message: String }, title)
      if (!name.includes('CONNACK')) {
        t.equal(app.mqtt.state, 'connecting', title)
        t.equal(watched.warnings(), 1, `${title}: an outage is told once`)
      }
      await isBack(t, title, watched, heal, RECONNECT.max + CONNECT_TIMEOUT)
    }))
  })

  t.test(`P11: ${nameOf(version)}: nobody listens, from the start and after a connection`, { skip }, async t => {
    await Promise.all([
      (async () => {
        const title = `${nameOf(version)}, nobody listens`
        const { options, heal } = await stopped(t)
        const watched = await watch(t, { ...options, protocolVersion: version })
        await watched.app.ready()
        await isPolite(t, title, watched)
        t.match(watched.app.mqtt.status(), { state: 'connecting', lastError: { code: 'ECONNREFUSED' } }, title)
        await isBack(t, title, watched, heal, RECONNECT.max)
      })(),
      (async () => {
        const title = `${nameOf(version)}, nobody listens any more`
        const broker = await startMosquitto(t)
        const watched = await watch(t, { url: broker.url, protocolVersion: version })
        const { app } = watched
        const route = app.mqtt.topic('probe', { qos: 1 }, () => {})
        await app.ready()
        await route.subscribed
        await broker.kill()
        await isPolite(t, title, watched)
        t.match(app.mqtt.status(), { state: 'reconnecting', lastError: { code: 'ECONNREFUSED' } }, title)
        await isBack(t, title, watched, () => broker.start(), RECONNECT.max)
        t.equal(app.mqtt.status().counters.reconnects, 1)
        t.match(app.mqtt.subscriptions, [{ status: 'active' }], 'subscribed before anything was published')
      })()
    ])
  })

  t.test(`P11: ${nameOf(version)}: refused for good goes to the slow lane`, async t => {
    const codes = version === 5 ? [0x84, 0x85, 0x86, 0x87, 0x8a] : [1, 2, 4, 5]
    const max = 300
    await Promise.all(codes.map(async code => {
      const title = `${nameOf(version)}, refused with ${code}`
      const { options, heal } = await scripted(t, () => version === 5 ? { reasonCode: code } : { returnCode: code })
      const watched = await watch(t, { ...options, protocolVersion: version, reconnect: { min: 1, max } })
      const { app, began, waits, unheld } = watched
      await app.ready()
      await waitFor(() => began.length > 6, `six attempts: ${title}`)
      const first = waits().slice(0, 6)
      // A timer may be a millisecond early.
      t.strictSame([...first.filter(wait => wait < max / 2 - 2), ...unheld().slice(0, 6).filter(wait => wait > max + MARGIN)], [], `${title}: each between half the maximum and the maximum`)
      t.ok(Math.max(...first) - Math.min(...first) > 1, `${title}: waits differ`)
      t.match(app.mqtt.status(), { state: 'refused', connected: false, lastError: { code: 'FST_MQTT_CONNECT_REFUSED' } }, title)
      t.equal(watched.warnings(), 1, `${title}: told once`)
      t.comment(`${title}: waits ${first.map(Math.round).join(' ')} ms`)
      await isBack(t, title, watched, heal, max)
    }))
  })
}

t.test('P11: a name that does not resolve: attempts go on, and closing is not held up', async t => {
  const watched = await watch(t, { host: 'nowhere.invalid', connectTimeout: 2_000, reconnect: { min: 10, max: 80 } })
  const { app, began } = watched
  await app.ready()
  const pending = app.mqtt.publish('probe', 'waits', { qos: 1 })
  pending.catch(() => {})
  await waitFor(() => began.length >= 5, 'five attempts')
  t.match(app.mqtt.status(), { state: 'connecting', lastError: { code: /ENOTFOUND|EAI_AGAIN|FST_MQTT_TIMEOUT/ } })
  const since = clock()
  await withinTime(app.close(), 'the end')
  const took = Math.round(clock() - since)
  t.ok(took <= 300 + MARGIN)
  t.comment(`closed in ${took} ms after ${began.length} attempts: ${watched.waits().map(Math.round).join(' ')} ms`)
  await t.rejects(pending, { code: 'FST_MQTT_CLOSED', maybeSent: false } satisfies Partial<MqttError>)
  const attempts = began.length
  // That nothing happens in this time is what is tested.
  await new Promise(resolve => { setTimeout(resolve, 200) })
  t.equal(began.length, attempts, 'closed is closed')
})
