import type { FastifyInstance } from 'fastify'
import t, { type Test } from 'tap'
import type { MqttError, MqttPluginOptions, QoS } from '../../lib/index.ts'
import { buildApp, live } from '../support/app.ts'
import { connectClient } from '../support/client.ts'
import { waitFor } from '../support/events.ts'
import { Ledger } from '../support/ledger.ts'
import { startMosquitto } from '../support/mosquitto.ts'
import { Gates } from './gates.ts'
import {
  add, bothWays, handleThroughResets, keptSession, nameOf, publishThroughResets, settledLedger, skip, stage, total,
  VERSIONS, witness, type Tally, type Version
} from './fixtures/storms.ts'
import { ResetStorm, strayAcks, type Proxy } from './proxy.ts'

/* The application reaches mosquitto through a network that fails; the other side of each test is on the broker itself. */

t.setTimeout(180_000)

for (const version of VERSIONS) {
  t.test(nameOf(version), { skip }, t => {
    for (const qos of [1, 2] as const) {
      t.test(`P1: a reset every 60 ms: no confirmed QoS ${qos} publish is lost`, t => publishThroughResets(t, version, qos, 5_000))
    }

    t.test('P2: every publish settles by its deadline, on a network that fails in every way', async t => {
      const timeout = 300
      const faults: Array<[string, (proxy: Proxy) => void, (proxy: Proxy) => void]> = [
        ['a black hole', proxy => proxy.blackHole(true), proxy => proxy.blackHole(false)],
        ['a slow link', proxy => proxy.slow(2_000), proxy => proxy.slow(0)],
        ['byte by byte', proxy => proxy.split(true), proxy => proxy.split(false)],
        ['a reset', proxy => proxy.reset(), () => {}],
        ['no broker', proxy => { proxy.blackHole(true); proxy.reset() }, proxy => proxy.blackHole(false)]
      ]
      await Promise.all(faults.map(async ([name, begin, end]) => {
        const { app, proxy } = await stage(t, version, { publishTimeout: timeout, outbox: { inflight: 50 }, keepalive: 1, connectTimeout: 500 })
        await app.ready()
        await live(app)
        const tally: Tally = {}
        const publish = (): void => {
          for (const qos of [0, 1, 2] as const) {
            add(tally, 'published')
            app.mqtt.publish('p2', Buffer.alloc(200), { qos }).then(
              () => add(tally, 'confirmed'),
              (error: MqttError) => add(tally, error.maybeSent === undefined ? 'untold' : error.code)
            )
          }
        }
        for (let i = 0; i < 30; i++) publish()
        begin(proxy)
        for (let i = 0; i < 100; i++) publish()
        // The deadline, and the second that the promise allows: time is what is tested.
        await new Promise(resolve => { setTimeout(resolve, timeout + 1_000) })
        const { published, ...ends } = tally
        t.comment(`${nameOf(version)}, ${name}: ${JSON.stringify(tally)}`)
        t.equal(total(ends), published, `${name}: none is unsettled`)
        t.equal(ends.untold, undefined)
        end(proxy)
        await waitFor(() => app.mqtt.connected, 'the way back')
        // What was given up after it was sent is followed to its end.
        await waitFor(() => app.mqtt.status().outbox.messages === 0, 'an empty outbox')
        const { reasonCode } = await app.mqtt.publish('p2', '', { qos: 1, timeout: 0 })
        t.equal(reasonCode, version === 5 ? 16 : 0)
      }))
    })

    t.test('P2: close settles every publish, on a network that fails in every way', async t => {
      const faults: Array<[string, (proxy: Proxy) => void]> = [
        ['a healthy network', () => {}],
        ['a black hole', proxy => proxy.blackHole(true)],
        ['a slow link', proxy => proxy.slow(2_000)],
        ['a reset', proxy => proxy.reset()],
        ['a storm', proxy => { new ResetStorm(t, proxy, 20).start() }]
      ]
      await Promise.all(faults.map(async ([name, begin]) => {
        const closeTimeout = name === 'a healthy network' ? 10_000 : 300
        const { app, proxy } = await stage(t, version, { publishTimeout: 0, closeTimeout, outbox: { inflight: 50 } })
        await app.ready()
        await live(app)
        begin(proxy)
        const tally: Tally = {}
        for (let i = 0; i < 300; i++) {
          app.mqtt.publish('p2', Buffer.alloc(200), { qos: i % 3 as QoS }).then(
            () => add(tally, 'confirmed'),
            (error: MqttError) => add(tally, `${error.code} ${String(error.maybeSent)}`)
          )
        }
        if (name === 'a storm') await waitFor(() => proxy.connections.length > 3, 'some resets')
        await app.close()
        t.comment(`${nameOf(version)}, ${name}: ${JSON.stringify(tally)}`)
        t.equal(total(tally), 300, `${name}: none is unsettled when close() resolves`)
        if (name === 'a healthy network') t.equal(tally.confirmed, 300)
      }))
    })

    t.test('P3: `maybeSent: false` is never wrong', async t => {
      const { app, broker, proxy } = await stage(t, version, { outbox: { inflight: 20, maxMessages: 300 } })
      const ledger = new Ledger()
      const seen = await witness(t, broker, 'p3', ledger)
      await app.ready()
      await live(app)
      const sent = new Set<number>()
      const unsent = new Set<number>()
      const tally: Tally = {}
      const running: Array<Promise<void>> = []
      let k = 0
      for (let round = 0; round < 30; round++) {
        // Between write and acknowledgement, on either side of either.
        const places = [['up', 'publish', 'before'], ['up', 'publish', 'after'], ['down', 'puback', 'before'], ['down', 'pubrec', 'before'], ['up', 'pubrel', 'before'], ['down', 'pubcomp', 'before']] as const
        const [direction, cmd, where] = places[round % places.length]!
        const nth = proxy.counted(direction, cmd) + 1 + Math.floor(Math.random() * 5)
        const cut = proxy.cutWhen(packet => packet.direction === direction && packet.cmd === cmd && packet.nth >= nth ? where : undefined)
        for (let i = 0; i < 30; i++) {
          const n = ledger.next()
          // One in three is given up: in its first microtask, or at a time that its writing or its answer may meet.
          const abort = new AbortController()
          if (i % 3 === 0) queueMicrotask(() => abort.abort())
          else if (i % 3 === 1) setImmediate(() => abort.abort())
          const options = { qos: k++ % 2 === 0 ? 1 : 2, signal: abort.signal, timeout: 1 + Math.random() * 60 } as const
          running.push(app.mqtt.publish('p3', n, options).then(
            () => { add(tally, 'confirmed'); ledger.confirmed(n) },
            (error: MqttError) => {
              add(tally, `${error.code} ${String(error.maybeSent)}`)
              ;(error.maybeSent === false ? unsent : sent).add(n)
            }
          ))
        }
        // All may have been given up before the place was reached.
        await Promise.race([cut, Promise.all(running)])
      }
      await Promise.all(running)
      // The last place may not have been reached.
      void proxy.cutWhen(() => undefined)
      await waitFor(() => app.mqtt.connected && app.mqtt.status().outbox.messages === 0, 'an empty outbox')
      await settledLedger(ledger)
      t.strictSame(ledger.report().lost, [])
      const before = ledger.counts.received
      const last = ledger.next()
      await app.mqtt.publish('p3', last, { qos: 2 })
      ledger.confirmed(last)
      // In order behind all that was sent before it.
      await settledLedger(ledger)
      const arrived = new Set([...sent].filter(n => seen.has(n)))
      t.comment(`${nameOf(version)}: ${JSON.stringify({ ...tally, received: before, rejectedAndArrived: arrived.size })}`)
      t.strictSame([...unsent].filter(n => seen.has(n)), [], 'what was not sent did not arrive')
      t.ok(unsent.size > 0 && arrived.size > 0, 'both were seen')
    })

    t.test('P6: QoS 1 into handlers of a kept session, through a storm: none lost', t => handleThroughResets(t, version, 1, 1_500))

    t.test('P7: QoS 2 both ways through a storm: none lost, none twice', t => handleThroughResets(t, version, 2, 1_500))

    t.test('P7: cut before and after each packet of the exchange: none lost, none twice', async t => {
      const set = await stage(t, version, { ...keptSession(), publishTimeout: 0 })
      const { app, proxy } = set
      const ways = await bothWays(t, set, 2)
      let cuts = 0
      for (const direction of ['up', 'down'] as const) {
        for (const cmd of ['publish', 'pubrec', 'pubrel', 'pubcomp'] as const) {
          for (const where of ['before', 'after'] as const) {
            for (const place of [1, 4]) {
              const nth = proxy.counted(direction, cmd) + place
              const cut = proxy.cutWhen(packet => packet.direction === direction && packet.cmd === cmd && packet.nth === nth ? where : undefined)
              await ways.publish(8)
              await cut
              await live(app)
              await ways.handled()
              cuts++
              const found = { own: ways.own.report(), theirs: ways.theirs.report() }
              for (const [name, { lost, duplicated, foreign }] of Object.entries(found)) {
                t.strictSame({ lost, duplicated, foreign }, { lost: [], duplicated: [], foreign: [] }, `${where} ${cmd} ${place}, ${direction}: ${name}`)
              }
            }
          }
        }
      }
      t.equal(app.mqtt.status().counters.reconnects, cuts)
      t.strictSame(ways.rejected, {})
      t.strictSame(strayAcks(proxy.connections), [])
      t.comment(`${nameOf(version)}: ${JSON.stringify({ cuts, own: ways.own.counts, theirs: ways.theirs.counts })}`)
    })

    for (const qos of [1, 2] as const) {
      t.test(`P8: no acknowledgement crosses connections: QoS ${qos}, and the ids mean other messages`, async t => {
        const { app, broker, proxy } = await stage(t, version, { ...keptSession(), ackOrder: 'handled' })
        const gates = new Gates()
        const handled: string[] = []
        app.mqtt.topic('p8/<name>', { qos }, async message => {
          await gates.wait(message.params.name)
          handled.push(message.params.name)
        })
        await app.ready()
        await live(app)
        const publish = async (...names: string[]): Promise<void> => {
          const { client } = await connectClient(t, broker.url)
          for (const name of names) await client.publishAsync(`p8/${name}`, '', { qos })
        }
        const old = ['a1', 'a2', 'a3']
        const young = ['b1', 'b2', 'b3']
        await publish(...old)
        await gates.entered(...old)
        // The broker comes back without a memory: its ids begin at 1 again.
        await broker.kill()
        await broker.start()
        await live(app)
        const second = proxy.last!
        await publish(...young)
        await gates.entered(...young)
        t.strictSame(idsOf(second), idsOf(proxy.connections[0]!), 'other messages have the same ids')
        for (const name of old) gates.open(name)
        await waitFor(() => handled.length === old.length, 'the old handlers')
        // On its way behind whatever acknowledgement there was.
        await app.mqtt.publish('elsewhere', '', { qos: 1 })
        t.strictSame(second.log.filter(({ direction, cmd }) => direction === 'up' && (cmd === 'puback' || cmd === 'pubrec')), [], 'nothing was acknowledged')
        second.reset()
        await waitFor(() => second !== proxy.last, 'the third connection')
        await live(app)
        for (const name of young) gates.open(name)
        const rounds = qos === 1 ? 2 : 1
        await waitFor(() => handled.length === old.length + rounds * young.length, 'all handlers')
        t.strictSame([...new Set(handled)].sort(), [...old, ...young])
        t.strictSame(strayAcks(proxy.connections), [])
      })
    }

    t.test('P13: subscriptions survive a storm, and what changes meanwhile holds', async t => {
      const { app, broker, proxy } = await stage(t, version)
      const got = new Set<string>()
      const note = ({ topic }: { topic: string }): void => { got.add(topic) }
      for (let i = 0; i < 20; i++) app.mqtt.topic(`s/${i}/<int:n>`, { qos: 1 }, note)
      await app.ready()
      await live(app)
      const storm = new ResetStorm(t, proxy, 60).start()
      const late: Array<Promise<unknown>> = []
      for (let i = 20; i < 60; i++) {
        const route = app.mqtt.topic(`s/${i}/<int:n>`, { qos: 1 }, note)
        late.push(route.subscribed)
        if (i % 2 === 0) late.push(app.mqtt.subscribe(`x/${i}`, { qos: 1 }))
        // Each meets the storm at another place.
        await new Promise(resolve => { setTimeout(resolve, 15) })
        if (i % 5 === 0) await route.remove()
      }
      storm.stop()
      const answers = await Promise.allSettled(late)
      // The application may not have noticed the last reset yet.
      await waitFor(() => proxy.live.length === 1, 'the last connection')
      await live(app)
      const gone = [20, 25, 30, 35, 40, 45, 50, 55]
      t.ok(storm.resets > 3, 'there was a storm')
      t.ok(answers.every(answer => answer.status === 'fulfilled' || (answer.reason as MqttError).code === 'FST_MQTT_CLOSED'), 'only what was taken back was not granted')
      const expected = Array.from({ length: 60 }, (_, i) => i).filter(i => !gone.includes(i))
      t.equal(app.mqtt.subscriptions.length, expected.length + 20)
      const { client } = await connectClient(t, broker.url)
      for (let i = 0; i < 60; i++) await client.publishAsync(`s/${i}/1`, '', { qos: 1 })
      await client.publishAsync('s/59/2', '', { qos: 1 })
      await waitFor(() => got.has('s/59/2') && got.size > expected.length, 'the messages')
      t.strictSame([...got].sort(), [...expected.map(i => `s/${i}/1`), 's/59/2'].sort())
    })
    t.end()
  })
}

/** A backlog in a kept session, and an application that comes back to it with the handler given. */
async function backToBacklog (t: Test, { version, count, config = [], ...options }: MqttPluginOptions & { version: Version, count: number, config?: string[] }, handle: (app: FastifyInstance, n: number) => unknown): Promise<{ app: FastifyInstance, handled: Set<number> }> {
  const broker = await startMosquitto(t, { config })
  const all = { url: broker.url, protocolVersion: version, reconnect: { min: 1, max: 20 }, closeTimeout: 300, ...keptSession(), ...options }
  const { app: before } = await buildApp(t, all)
  before.mqtt.topic('in/<int:n>', { qos: 1 }, () => {})
  await before.ready()
  await live(before)
  await before.close()
  const { client } = await connectClient(t, broker.url)
  await Promise.all(Array.from({ length: count }, (_, n) => client.publishAsync(`in/${n}`, '', { qos: 1 })))
  const { app } = await buildApp(t, all)
  const handled = new Set<number>()
  app.mqtt.topic('in/<int:n>', { qos: 1 }, async message => {
    await handle(app, message.params.n)
    handled.add(message.params.n)
  })
  await app.ready()
  return { app, handled }
}

t.test('a full inbox', { skip }, t => {
  for (const version of VERSIONS) {
    t.test(`P9: publishing handlers of a full inbox go on: ${nameOf(version)}`, async t => {
      const { app, handled } = await backToBacklog(t, { version, count: 300, inbox: { maxMessages: 15 }, concurrency: 6 }, app => app.mqtt.publish('out', '', { qos: 1 }))
      await waitFor(() => handled.size === 300, 'the backlog')
      t.equal(app.mqtt.status().counters.failed, 0)
    })

    t.test(`P9, P10: a broker that floods publishing handlers: ${nameOf(version)}`, async t => {
      let most = 0
      const { app, handled } = await backToBacklog(t, { version, count: 5_000, config: ['max_inflight_messages 0'], inbox: { maxMessages: 1_000 } }, async app => {
        most = Math.max(most, app.mqtt.status().inbox.messages)
        await app.mqtt.publish('out', '', { qos: 1 })
      })
      await waitFor(() => handled.size === 5_000, 'the backlog')
      t.ok(most <= 2_000, `at most twice the limit in the inbox (${most})`)
      t.equal(app.mqtt.status().counters.failed, 0)
    })

    t.test(`P9: handlers of a full inbox may subscribe: ${nameOf(version)}`, async t => {
      const { handled } = await backToBacklog(t, { version, count: 100, inbox: { maxMessages: 10 }, concurrency: 4 }, (app, n) => app.mqtt.subscribe(`answers/${n}`))
      await waitFor(() => handled.size === 100, 'the backlog')
    })

    t.test(`P10: what waits is not in the inbox once for each connection: ${nameOf(version)}`, async t => {
      const { app, broker, proxy } = await stage(t, version, { ...keptSession(), concurrency: 2, order: 'none' })
      const gates = new Gates()
      app.mqtt.topic('in/<int:n>', { qos: 1 }, () => gates.wait('all'))
      await app.ready()
      await live(app)
      const { client } = await connectClient(t, broker.url)
      for (let n = 0; n < 18; n++) await client.publishAsync(`in/${n}`, '', { qos: 1 })
      for (let reconnects = 0; reconnects < 5; reconnects++) {
        const received = (reconnects + 1) * 18
        await waitFor(() => app.mqtt.status().counters.received === received, 'all messages, again')
        t.ok(app.mqtt.status().inbox.messages <= 18 + 2, `${app.mqtt.status().inbox.messages} of 18 messages after ${reconnects} reconnects`)
        proxy.reset()
      }
      gates.open('all')
    })
  }
  t.end()
})

function idsOf ({ log }: { log: ReadonlyArray<{ direction: string, cmd: string, messageId: number | undefined }> }): Array<number | undefined> {
  return log.filter(({ direction, cmd }) => direction === 'down' && cmd === 'publish').map(({ messageId }) => messageId)
}
