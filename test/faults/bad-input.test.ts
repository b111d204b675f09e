import { once } from 'node:events'
import { Worker } from 'node:worker_threads'
import type { FastifyInstance } from 'fastify'
import t, { type Test } from 'tap'
import type { PublishOptions } from '../../lib/index.ts'
import { buildApp, connect, mosquittoSettings } from '../support/app.ts'
import { connectClient } from '../support/client.ts'
import { waitFor, withinTime } from '../support/events.ts'
import { Ledger } from '../support/ledger.ts'
import { badPublishes, ended, oddValues, refusedWith, throwingPublishes } from './fixtures/bad-input.ts'
import type { BadInputJob, BadInputReport } from './fixtures/bad-input-worker.ts'
import { watchProcess } from './fixtures/hostile.ts'

/* Promise P4: bad input hurts only its caller. The table of what is bad is in fixtures/bad-input.ts. */

t.setTimeout(90_000)

/** mosquitto's, of whole packets; the payload that surely does not fit. */
const LARGEST = 100_000
/**
 * The order that is checked is ours, and mosquitto 2.0.11 does not keep it for a receiver that has 20 unacknowledged: it
 * queues the rest, and then may send a new message past that queue. An acknowledgement from behind the 20th place in flight
 * opens the window without taking anything off the queue (db__message_delete_outgoing), and whether something is queued is
 * not asked of a new message (db__ready_for_flight). Without the limit nothing is queued.
 */
const UNQUEUED = 'max_inflight_messages 0'
/** With it goes the Receive Maximum that MQTT 5 is told; the application keeps to the same of its own accord. */
const WINDOW = 20

/** Numbered messages both ways that go on all the time, and a witness of everything that reaches the broker. */
class Traffic {
  readonly alarms
  readonly foreign: string[] = []
  /** By direction and QoS. */
  readonly ledgers = new Map<string, Ledger>()
  readonly #app: FastifyInstance
  readonly #peer
  readonly #running: Array<Promise<unknown>> = []
  #incoming = 0

  constructor (t: Test, app: FastifyInstance, peer: Awaited<ReturnType<typeof connectClient>>) {
    this.alarms = watchProcess(t)
    this.#app = app
    this.#peer = peer
  }

  ledger (lane: string): Ledger {
    let ledger = this.ledgers.get(lane)
    if (ledger === undefined) this.ledgers.set(lane, ledger = new Ledger())
    return ledger
  }

  async start (): Promise<void> {
    // Its reconnects would be as telling as the application's; it makes none.
    this.#peer.client.on('message', (topic, payload) => {
      const lane = /^ok\/(out|worker)\/[012]$/.exec(topic)?.[0]
      if (lane !== undefined) this.ledger(lane).received(Number(payload.toString()))
      else if (!topic.startsWith('ok/in/') && topic !== 'odd') this.foreign.push(`${topic} ${payload.toString('hex').slice(0, 40)}`)
    })
    this.#app.mqtt.topic('ok/in/<int:qos>', { qos: 2 }, message => { this.ledger(`ok/in/${message.params.qos}`).received(Number(message.text())) })
    await this.#peer.client.subscribeAsync('#', { qos: 2 })
  }

  /** One more of each QoS in each direction, where there is room; not awaited, so that they lie beside what is bad. */
  step (): void {
    for (const qos of [0, 1, 2] as const) {
      const out = this.ledger(`ok/out/${qos}`)
      const n = out.next()
      this.#running.push(this.#app.mqtt.publish(`ok/out/${qos}`, n, { qos }).then(() => out.confirmed(n)))
      // Bystanders rather than a flood: whoever takes them runs in this process, too.
      if (this.#incoming > 12) continue
      const into = this.ledger(`ok/in/${qos}`)
      const m = into.next()
      this.#incoming++
      this.#running.push(this.#peer.client.publishAsync(`ok/in/${qos}`, String(m), { qos }).then(() => {
        into.confirmed(m)
        this.#incoming--
      }))
    }
  }

  async check (t: Test): Promise<void> {
    await withinTime(Promise.all(this.#running), 'the bystanders')
    await waitFor(() => [...this.ledgers.values()].every(ledger => ledger.report().lost.length === 0), 'what was confirmed').catch(() => {})
    for (const [lane, ledger] of this.ledgers) {
      t.strictSame({ lane, ...ledger.report() }, { lane, lost: [], duplicated: [], foreign: [], reordered: [] })
    }
    t.comment(JSON.stringify(Object.fromEntries([...this.ledgers].map(([lane, { counts }]) => [lane, counts.received]))))
    t.strictSame(this.foreign, [], 'no foreign bytes')
    t.strictSame(this.alarms.uncaught, [], 'nothing uncaught')
    t.strictSame(this.alarms.warnings, [])
    t.match(this.#app.mqtt.status(), { connected: true, counters: { reconnects: 0, failed: 0 }, outbox: { messages: 0, bytes: 0, inflight: 0 } })
    t.equal(this.#peer.client.connected, true)
  }
}

for (const { name, skip, start } of mosquittoSettings([`max_packet_size ${LARGEST}`, UNQUEUED])) {
  t.test(name, { skip }, t => {
    const prepare = async (t: Test): Promise<{ app: FastifyInstance, traffic: Traffic, largest: number }> => {
      const { options, broker } = await start(t)
      const outbox = options.protocolVersion === 5 ? { inflight: WINDOW } : {}
      const { app } = await buildApp(t, { ...options, workers: {}, outbox })
      const traffic = new Traffic(t, app, await connectClient(t, broker!.url))
      await traffic.start()
      await connect(app)
      // 3.1.1 has no way to say it: what mosquitto does to such a packet is promise P5's.
      return { app, traffic, largest: options.protocolVersion === 5 ? LARGEST : Infinity }
    }

    for (const throwing of [false, true]) {
      const what = throwing ? 'what throws when it is looked at' : 'what is bad'

      t.test(`P4: ${what}, from the main thread`, async t => {
        const { app, traffic, largest } = await prepare(t)
        const list = throwing ? throwingPublishes() : badPublishes(largest)
        for (const bad of list) {
          traffic.step()
          const how = await ended(() => app.mqtt.publish(bad.topic as string, bad.payload, bad.options as PublishOptions))
          if (how !== bad.code) t.equal(how, bad.code, bad.name)
          await new Promise(resolve => { setImmediate(resolve) })
        }
        t.comment(`${list.length} bad publishes`)
        await traffic.check(t)
      })

      t.test(`P4: ${what}, all at once, in one turn with bystanders`, async t => {
        const { app, traffic, largest } = await prepare(t)
        const list = throwing ? throwingPublishes() : badPublishes(largest)
        const all = list.map((bad, i) => {
          if (i % 4 === 0) traffic.step()
          return ended(() => app.mqtt.publish(bad.topic as string, bad.payload, bad.options as PublishOptions))
        })
        for (const [i, how] of (await withinTime(Promise.all(all), 'the answers')).entries()) {
          if (how !== list[i]!.code) t.equal(how, list[i]!.code, list[i]!.name)
        }
        await traffic.check(t)
      })

      t.test(`P4: ${what}, from a worker`, async t => {
        const { traffic, largest } = await prepare(t)
        const workerData: BadInputJob = { largest, bystanders: 'ok/worker', throwing }
        const worker = new Worker(new URL('./fixtures/bad-input-worker.js', import.meta.url), { execArgv: [], workerData })
        let report: BadInputReport | undefined
        worker.on('message', (message: { result?: BadInputReport }) => { report ??= message.result })
        let failure: unknown
        worker.on('error', error => { failure = error })
        // Beside the worker rather than ahead of it.
        const timer = setInterval(() => traffic.step(), 5)
        await withinTime(once(worker, 'exit'), 'the end of the worker', { within: 60_000 }).finally(() => clearInterval(timer))
        t.equal(failure, undefined)
        for (const [name, expected, how] of report!.wrong) t.equal(how, expected, name)
        t.comment(`${report!.checked} bad publishes, bystanders ${JSON.stringify(report!.bystanders)}`)
        for (const qos of [0, 1, 2]) {
          const ledger = traffic.ledger(`ok/worker/${qos}`)
          for (let n = 1; n <= report!.checked; n++) ledger.confirmed(ledger.next())
        }
        t.strictSame(report!.bystanders, [report!.checked, report!.checked, report!.checked])
        await traffic.check(t)
      })
    }

    t.test('P4: odd payloads that are none of them arrive as they were when they were published', async t => {
      const { app, traffic } = await prepare(t)
      const seen: string[] = []
      app.mqtt.topic('odd', { qos: 1 }, message => { seen.push(message.payload.toString('latin1')) })
      await waitFor(() => app.mqtt.subscriptions.every(({ status }) => status === 'active'), 'the subscription')
      const shared = new Uint8Array(new SharedArrayBuffer(4)).fill(65)
      const pooled = Buffer.from('pooled')
      const wide = new Uint16Array([0x4242, 0x4343])
      const middle = Buffer.from('..middle..').subarray(2, 8)
      const own = new Uint8Array([68, 69]).buffer
      const list = [shared, pooled, wide, middle, own, new DataView(own, 1), new Uint8Array(0), { toJSON: () => 'json' }, new Date(0), Object('boxed')]
      const all = list.map(payload => app.mqtt.publish('odd', payload, { qos: 1 }))
      // The caller may do with its memory what it likes from here on.
      shared.fill(90)
      pooled.fill(90)
      wide.fill(0)
      middle.fill(90)
      traffic.step()
      await Promise.all(all)
      await waitFor(() => seen.length === list.length, 'the messages')
      t.strictSame(seen, ['AAAA', 'pooled', 'BBCC', 'middle', 'DE', 'E', '', '"json"', '"1970-01-01T00:00:00.000Z"', '"boxed"'])
      t.strictSame(list.slice(0, 5).map(({ byteLength }) => byteLength), [4, 6, 4, 6, 2], 'nothing was detached')
      await traffic.check(t)
    })

    t.test('P4: everything else that is called with nonsense', async t => {
      const { app, traffic } = await prepare(t)
      const { mqtt } = app
      mqtt.topic('known/<int:n>', { name: 'known', qos: 1 }, () => {})
      await waitFor(() => mqtt.subscriptions.every(({ status }) => status === 'active'), 'the subscriptions')
      const before = { filters: mqtt.subscriptions.map(({ filter }) => filter), tree: mqtt.printTopics() }
      const any = mqtt as unknown as Record<string, (...args: unknown[]) => unknown>
      const calls: Array<[name: string, call: (value: unknown) => unknown, lawful?: string[]]> = [
        ['topic(x)', x => any.topic!(x)],
        ['topic(x, handler)', x => any.topic!(x, () => {})],
        ['topic("a", x)', x => any.topic!('a', x, () => {}), ['undefined', 'null', '{}', 'a function', 'a Date', 'an object without prototype']],
        ['topic("a", {}, x)', x => any.topic!('a', {}, x), ['undefined', 'a function']],
        ['route(x)', x => any.route!(x)],
        ['route({ topic: x })', x => any.route!({ topic: x, handler: () => {} })],
        ['route({ handler: x })', x => any.route!({ topic: 'a', handler: x }), ['undefined', 'a function']],
        ['controller(x)', x => any.controller!(x)],
        ['subscribe(x)', x => any.subscribe!(x), ['[]']],
        ['subscribe([x])', x => any.subscribe!(['fine', x])],
        ['subscribe("a", x)', x => any.subscribe!('a', x), ['undefined', '{}', 'a Date', 'an object without prototype']],
        ['unsubscribe(x)', x => any.unsubscribe!(x), ['[]']],
        ['unsubscribe([x])', x => any.unsubscribe!(['fine', x])],
        ['unsubscribe("a", x)', x => any.unsubscribe!('a', x), ['undefined', '{}', '[]', '[null]', 'a function', 'a Date', 'an object without prototype', 'a String object']],
        ['topicFor(x)', x => any.topicFor!(x)],
        ['topicFor("known", x)', x => any.topicFor!('known', x)],
        ['topicFor("known", { n: x })', x => any.topicFor!('known', { n: x }), ['0', '42']],
        ['topicFor("known", { n: 1 }, x)', x => any.topicFor!('known', { n: 1 }, x), ['undefined', '{}', '[]', '[null]', 'a function', 'a Date', 'an object without prototype', 'a String object']],
        ['filterFor(x)', x => any.filterFor!(x)],
        ['filterFor("known", x)', x => any.filterFor!('known', x), ['undefined', '{}', '[]', '[null]', 'a function', 'a Date', 'an object without prototype', 'a String object']],
        ['setErrorHandler(x)', x => any.setErrorHandler!(x), ['a function']],
        ['setNotFoundHandler(x)', x => any.setNotFoundHandler!(x), ['a function']],
        ['attach(x)', x => any.attach!(x)],
        ['Route.onMessage(x)', x => (mqtt.topic('known/<int:n>') as unknown as { onMessage (x: unknown): void, remove (): Promise<void> }).onMessage(x), ['a function']],
        ...['qos', 'noLocal', 'retainAsPublished', 'retainHandling', 'absolute', 'name', 'group', 'ack', 'concurrency', 'order', 'handlerTimeout', 'nonsense'].map((option): [string, (value: unknown) => unknown, string[]] => [
          `topic("a", { ${option}: x })`, x => any.topic!('a', { [option]: x }, () => {}), option === 'nonsense' ? [] : LAWFUL[option] ?? ['undefined']
        ])
      ]
      const raw: string[] = []
      let count = 0
      for (const [name, call, lawful = []] of calls) {
        for (const [value, x] of oddValues()) {
          traffic.step()
          const how = await refusedWith(() => withinTime(Promise.resolve(call(x)), 'an answer'))
          count++
          if (how.startsWith('FST_MQTT_') || (how === 'nothing' && lawful.includes(value))) continue
          raw.push(`${name} with ${value}: ${how}`)
        }
      }
      t.strictSame(raw, [], 'each is an error of this package')
      t.comment(`${count} calls`)
      for (const filter of mqtt.subscriptions.map(({ filter }) => filter)) await mqtt.unsubscribe(filter)
      t.strictSame(before.filters.filter(filter => !mqtt.subscriptions.some(one => one.filter === filter)), [], 'what was there still is')
      t.match(mqtt.printTopics(), /known/)
      await traffic.check(t)
    })
    t.end()
  })
}

/** What some of the odd values mean as an option of a route. */
const LAWFUL: Record<string, string[]> = {
  qos: ['undefined', '0'],
  noLocal: ['undefined', 'true'],
  retainAsPublished: ['undefined', 'true'],
  retainHandling: ['undefined', '0'],
  absolute: ['undefined', 'true'],
  concurrency: ['undefined', '42'],
  handlerTimeout: ['undefined', '0', '42']
}
