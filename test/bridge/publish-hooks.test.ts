import { Piscina } from 'piscina'
import t, { type Test } from 'tap'
import { MessageChannel } from 'node:worker_threads'
import type { FastifyInstance } from 'fastify'
import type { MqttPluginOptions, PublishPacket, QoS } from '../../lib/index.ts'
import type { MainMessage, PublishMessage } from '../../lib/bridge/protocol.ts'
import { PublishHooks } from '../../lib/outbox/publish-hooks.ts'
import { Hooks } from '../../lib/routing/hooks.ts'
import { WorkerClient } from '../../workers/client.ts'
import { allSettings, buildApp, connect } from '../support/app.ts'
import { nextEvent, waitFor, withinTime } from '../support/events.ts'
import { mosquittoMissing, startMosquitto } from '../support/mosquitto.ts'
import type { Burst, Told } from './fixtures/tasks.ts'
import { Station, type StationOptions } from './station.ts'
import { endOf, PLAIN, run, spawn } from './threads.ts'

/* Workers' publishes pass onPublish, too. */

const filename = new URL('./fixtures/tasks.js', import.meta.url).href
const turn = (): Promise<void> => new Promise(resolve => { setImmediate(resolve) })
const turns = async (count: number): Promise<void> => { for (; count > 0; count--) await turn() }
const OK = { reasonCode: 0 }

/** A station whose workers' publishes pass hooks. */
function station (t: Test, options: StationOptions = {}): { station: Station, hooks: Hooks } {
  const hooks = new Hooks()
  const station = new Station({ ...options, hooks: PublishHooks.of({ instance: undefined as never, hooks }) })
  t.teardown(() => station.close())
  return { station, hooks }
}

/** A worker's side in this thread. */
function client (t: Test, station: Station): WorkerClient {
  const { port1, port2 } = new MessageChannel()
  station.bridge.accept(port2, 7)
  t.teardown(() => port1.close())
  return new WorkerClient(port1)
}

function add (hooks: Hooks, hook: (packet: PublishPacket) => unknown): void {
  hooks.add('onPublish', hook, undefined as never)
}

for (const { name, skip, start } of allSettings()) {
  t.test(`Piscina: ${name}`, { skip }, async t => {
    const { options } = await start(t)
    const { app } = await buildApp(t, { ...options, prefix: 'plant' })
    const received = new Map<string, number[]>()
    app.mqtt.topic('out/<int:qos>/<source>', { qos: 2 }, message => {
      const key = `${message.params.qos} ${message.params.source}`
      received.set(key, [...received.get(key) ?? [], Number(message.text())])
    })
    const topics = new Set<string>()
    app.mqtt.addHook('onPublish', async packet => {
      topics.add(packet.topic)
      const [, , qos, source, n] = packet.topic.split('/')
      // Those of one worker take longer and shorter.
      await turns(Number(n) * 7 % 4)
      packet.topic = `plant/out/${qos}/${source}`
      packet.payload = n
    })
    await connect(app)
    const pool = new Piscina({ filename, ...PLAIN, minThreads: 3, maxThreads: 3 })
    t.after(() => pool.destroy())
    const count = 100
    for (const qos of [0, 1, 2] as QoS[]) {
      const results = await Promise.all(['a', 'b', 'c'].map(source => pool.run({ topic: `in/${qos}/${source}`, count, qos } satisfies Burst, { name: 'awaited' }))) as unknown[][]
      t.ok(results.flat().every(result => JSON.stringify(result) === JSON.stringify(OK)), `QoS ${qos}: confirmed`)
    }
    await waitFor(() => received.size === 9 && [...received.values()].every(({ length }) => length === count), 'all of them')
    for (const [key, numbers] of received) t.strictSame(numbers, Array.from({ length: count }, (_, n) => n), `${key}: all, once, in order`)
    t.equal(topics.size, 9 * count, 'hooks see topics as the broker does')
    t.match(app.mqtt.status(), { workers: 3, outbox: { messages: 0, bytes: 0 }, counters: { published: 9 * count, refused: 0 } })
    t.comment(`${9 * count} publishes of three threads`)
  })
}

t.test('order is kept across QoS, and between what waits and what does not', async t => {
  const { station: main, hooks } = station(t)
  const worker = client(t, main)
  add(hooks, packet => Number(packet.payload) % 3 === 0 ? undefined : turns(Number(packet.payload) * 7 % 4))
  const count = 500
  const all: Array<Promise<unknown>> = []
  for (let n = 0; n < count; n++) {
    // Several messages rather than one.
    if (n % 50 === 0) await turn()
    all.push(worker.publish('a', n, { qos: [0, 1, 0, 0, 2][n % 5] as QoS }))
  }
  await withinTime(Promise.all(all), 'all of them')
  await main.link.until(count)
  t.strictSame(main.received.map(({ payload }) => Number(payload)), Array.from({ length: count }, (_, n) => n))
  await waitFor(() => main.outbox.messages === 0, 'an empty outbox')
  t.strictSame([main.outbox.messages, main.outbox.bytes, main.outbox.holding], [0, 0, 0])
})

for (const how of ['sync', 'async'] as const) {
  const timed = (act: (packet: PublishPacket) => void) => how === 'sync' ? act : async (packet: PublishPacket) => { await turn(); act(packet) }

  for (const version of [5, 4] as const) {
    t.test(`${how}, MQTT ${version}: what hooks see and change`, async t => {
      const { station: main, hooks } = station(t, { version, prefix: 'p' })
      const worker = client(t, main)
      await worker.ready()
      const seen: unknown[] = []
      add(hooks, timed(({ topic, payload, qos, retain, properties }) => { seen.push([topic, payload.toString(), qos, retain, { ...properties }]) }))
      add(hooks, timed(packet => {
        packet.payload = `${packet.payload.toString()}!`
        packet.retain = !packet.retain
        packet.properties.contentType = 'hook'
        if (packet.qos === 1) packet.qos = 2
        if (packet.topic === 'p/a') packet.topic = 'p/moved'
      }))
      const properties = { correlationData: Buffer.from([1, 2]), userProperties: { a: ['1', '2'], b: '3' }, messageExpiryInterval: 9 }
      t.same(await Promise.all([
        worker.publish('a', 'x'), worker.publish('b', Buffer.from('y'), { qos: 1, retain: true, properties }), worker.publish('$SYS/c', '', { absolute: true, qos: 2 })
      ]), [OK, OK, OK])
      const given = version === 5 ? properties : {}
      t.same(seen, [['p/a', 'x', 0, false, {}], ['p/b', 'y', 1, true, given], ['$SYS/c', '', 2, false, {}]])
      const sent = (more: object): unknown => version === 5 ? { contentType: 'hook', ...more } : undefined
      t.match(main.received.map(({ topic, payload, qos, retain }) => [topic, payload, qos, retain]), [
        ['p/moved', 'x!', 0, true], ['p/b', 'y!', 2, false], ['$SYS/c', '!', 2, true]
      ])
      t.match(main.received[1]!.properties, sent({ messageExpiryInterval: 9, correlationData: Buffer.from([1, 2]) }))
    })
  }

  t.test(`${how}: what a hook throws reaches the worker, and nobody else`, async t => {
    const { station: main, hooks } = station(t, { window: 0 })
    const worker = client(t, main)
    const thrown: unknown[] = [
      new Error('plain'), Object.assign(new Error('coded'), { code: 'MINE' }), Object.assign(new Error('odd'), { code: () => {} }),
      undefined, null, 'text', Object.freeze(new Error('frozen')), new Proxy(new Error('hidden'), { get () { throw new Error('no') } })
    ]
    add(hooks, timed(packet => {
      if (packet.topic === 'bad') throw thrown[Number(packet.payload)] as Error // eslint-disable-line no-throw-literal
    }))
    const settled = await Promise.all(thrown.flatMap((_, i) => [
      worker.publish('good', i, { qos: 1 }), worker.publish('bad', i, { qos: (i % 3) as QoS }).then(() => 'published', ({ code, message, maybeSent }: Told) => [code, message, maybeSent])
    ]))
    t.strictSame(settled.filter((_, i) => i % 2 === 1), [
      [undefined, 'plain', false], ['MINE', 'coded', false], [undefined, 'odd', false],
      ...[1, 2, 3].map(() => [undefined, 'An onPublish hook threw what is no Error', false]),
      [undefined, 'frozen', false], [undefined, 'An onPublish hook threw what is no Error', false]
    ])
    t.equal(main.received.length, thrown.length)
    t.strictSame(main.outbox.counters, { published: thrown.length, refused: thrown.length })
    t.strictSame(main.logged, [])
    t.equal(main.bridge.workers, 1)
  })

  t.test(`${how}: QoS 0 within the window is done when it is handed over, whatever a hook says`, async t => {
    const { station: main, hooks } = station(t)
    const worker = client(t, main)
    await worker.ready()
    add(hooks, timed(() => { throw new Error('no') }))
    t.same(await worker.publish('a', ''), OK)
    await waitFor(() => main.outbox.counters.refused === 1, 'the refusal')
    await t.rejects(worker.publish('a', '', { qos: 1 }), { message: 'no' })
  })

  t.test(`${how}: workers.topics binds what was asked for and what is sent`, async t => {
    const { station: main, hooks } = station(t, { prefix: 'p', window: 0, permits: topic => topic.startsWith('p/allowed/') })
    const worker = client(t, main)
    let called = 0
    add(hooks, timed(packet => {
      called++
      if (packet.topic === 'p/allowed/away') packet.topic = 'p/secret'
      if (packet.topic === 'p/allowed/broken') packet.topic = 'p/allowed/#'
    }))
    const codes = await Promise.all(['allowed/a', 'secret', 'allowed/away', 'allowed/broken', 'allowed/b'].map(topic =>
      worker.publish(topic, '', { qos: 1 }).then(() => 'published', ({ code, maybeSent }: Told) => `${code} ${maybeSent}`)))
    t.strictSame(codes, ['published', 'FST_MQTT_WORKER_TOPIC false', 'FST_MQTT_WORKER_TOPIC false', 'FST_MQTT_TOPIC false', 'published'])
    t.equal(called, 4, 'what it may not ask for hooks do not see')
    t.strictSame(main.topics, ['p/allowed/a', 'p/allowed/b'])
  })

  t.test(`${how}: onPublished tells of each by itself`, async t => {
    const { station: main, hooks } = station(t)
    const worker = client(t, main)
    add(hooks, timed(() => {}))
    const seen: string[] = []
    hooks.add('onPublished', ({ topic, payload }, { reasonCode }) => { seen.push(`${topic} ${payload.toString()} ${reasonCode}`) }, undefined as never)
    main.link.reasons.set('nobody', 16)
    main.link.reasons.set('refused', 0x87)
    await Promise.all([
      ...['1', '2', '3'].map(text => worker.publish('zero', text)), worker.publish('nobody', '4', { qos: 1 }),
      worker.publish('refused', '5', { qos: 1 }).catch(() => {}), worker.publish('somebody', '6', { qos: 2 })
    ])
    await waitFor(() => seen.length === 5, 'the hooks')
    t.strictSame(seen.sort(), ['nobody 4 16', 'somebody 6 0', 'zero 1 0', 'zero 2 0', 'zero 3 0'])
  })

  t.test(`${how}: all room that a worker has had comes back, whatever hooks make of the size`, async t => {
    const { station: main, hooks } = station(t, { window: 2_000, maxBytes: 20_000 })
    const worker = client(t, main)
    await worker.ready()
    let n = 0
    add(hooks, timed(packet => {
      n++
      packet.payload = Buffer.alloc(n % 3 === 0 ? 0 : n % 3 * 700)
      if (n % 7 === 0) throw new Error('no')
    }))
    for (let round = 0; round < 20; round++) {
      const some = await Promise.allSettled(Array.from({ length: 15 }, (_, i) => worker.publish('a', Buffer.alloc(500), { qos: (i % 3) as QoS })))
      t.ok(some.every(({ status, reason }: { status: string, reason?: Told }) => status === 'fulfilled' || reason?.message === 'no'), `round ${round}`)
      // QoS 0 is done when it is handed over; its room is back later.
      await waitFor(() => main.outbox.messages === 0, 'an empty outbox')
      await turns(3)
    }
    t.equal(n, 20 * 15)
  })

  t.test(`${how}: what a worker has handed over survives it`, async t => {
    const { station: main, hooks } = station(t)
    add(hooks, timed(packet => { packet.payload = 'passed' }))
    const count = 200
    const ends: Array<Promise<unknown>> = []
    for (const how of ['andExit', 'andThrow', 'andReject'] as const) {
      for (const qos of [0, 1] as const) ends.push(endOf(spawn(how, { topic: `${how}/${qos}`, count, qos })))
    }
    const ended = new Int32Array(new SharedArrayBuffer(4))
    const spinning = spawn('andSpin', { topic: 'terminate', count, qos: 1, ended })
    await waitFor(() => Atomics.load(ended, 0) === 1, 'the turn to end')
    ends.push(spinning.terminate())
    await Promise.all(ends)
    await main.link.until(7 * count)
    t.equal(new Set(main.topics).size, 7 * count)
    t.ok(main.received.every(({ payload }) => payload === 'passed'))
    await waitFor(() => main.outbox.messages === 0 && main.bridge.workers === 0, 'the end of all')
    t.comment(`${7 * count} publishes of seven workers that died`)
  })
}

t.test('hooks that are not over when the worker is', async t => {
  const { station: main, hooks } = station(t)
  let open!: () => void
  const opened = new Promise<void>(resolve => { open = resolve })
  add(hooks, () => opened)
  await endOf(spawn('andExit', { topic: 'a', count: 50, qos: 1 }))
  await waitFor(() => main.bridge.workers === 0 && main.outbox.messages === 50, 'what it has left')
  t.equal(main.received.length, 0)
  open()
  await main.link.until(50)
})

t.test('deadline, abort, and a full outbox', async t => {
  const { station: main, hooks } = station(t, { window: 0, timeout: 0, limits: { maxMessages: 7 } })
  const worker = client(t, main)
  await worker.ready()
  let calls = 0
  add(hooks, packet => {
    calls++
    return packet.topic === 'hang' ? new Promise(() => {}) : undefined
  })
  const code = (publish: Promise<unknown>): Promise<string> => withinTime(publish.then(() => 'published', ({ code, maybeSent }: Told) => `${code} ${maybeSent}`), 'a publish to settle')
  const abort = new AbortController()
  const hanging = code(worker.publish('hang', '', { timeout: 60 }))
  const aborted = code(worker.publish('hang', '', { qos: 1, signal: abort.signal }))
  const behind = [0, 1, 2].map(qos => code(worker.publish('behind', '', { qos: qos as QoS })))
  const refused = [1, 2, 3].map(() => code(worker.publish('behind', '', { qos: 1 })))
  t.strictSame(await Promise.all(refused), refused.map(() => 'FST_MQTT_OUTBOX_FULL false'))
  t.equal(calls, 5, 'no hook is called for what is not taken')
  t.equal(main.outbox.messages, 5)
  t.equal(await hanging, 'FST_MQTT_TIMEOUT false')
  abort.abort()
  // The worker cannot know how far it has come.
  t.equal(await aborted, 'FST_MQTT_ABORTED true')
  t.strictSame(await Promise.all(behind), behind.map(() => 'published'))
  t.strictSame(main.topics, ['behind', 'behind', 'behind'])
})

t.test('an application that closes in the middle', async t => {
  const { app } = await buildApp(t, { embedded: true, closeTimeout: 600 })
  let open!: () => void
  const opened = new Promise<void>(resolve => { open = resolve })
  let held = 0
  app.mqtt.addHook('onPublish', packet => {
    held++
    return packet.topic === 'slow/9' ? new Promise(() => {}) : opened
  })
  const received: string[] = []
  app.mqtt.topic('slow/#', { qos: 1 }, message => { received.push(message.topic) })
  await connect(app)
  const worker = run('awaited', { topic: 'slow', count: 12, qos: 1 })
  await waitFor(() => held === 12, 'all in their hooks')
  t.match(app.mqtt.status(), { outbox: { messages: 12 }, workers: 1 })
  const closed = app.close()
  await turn()
  open()
  const results = await worker
  await withinTime(closed, 'the close')
  t.strictSame(results.slice(0, 9), Array.from({ length: 9 }, () => OK))
  t.match(results.slice(9), [1, 2, 3].map(() => ({ code: 'FST_MQTT_CLOSED', maybeSent: false })))
})

t.test('a frame whose properties cannot be read closes its port, as any that cannot', async t => {
  const { station: main, hooks } = station(t)
  add(hooks, () => {})
  for (const bytes of [
    [0x30, 8, 0, 1, 0x61, 4, 0x23, 0, 1, 0], // a topic alias
    [0x30, 7, 0, 1, 0x61, 2, 0x0b, 1, 0x78], // a subscription identifier
    [0x30, 6, 0, 1, 0x61, 2, 0x03, 0x7f] // a text that does not end
  ]) {
    const { port1, port2 } = new MessageChannel()
    main.bridge.accept(port2, 7)
    const said: MainMessage[] = []
    port1.on('message', message => { said.push(message as MainMessage) })
    const closed = nextEvent(port1, 'close')
    port1.postMessage({ type: 'publish', buffer: new Uint8Array(bytes).buffer, prefix: '', version: 5, first: 0, count: 1 } satisfies PublishMessage)
    await closed
    t.match(said.at(-1), { type: 'closed', taken: 0 })
  }
  t.equal(main.logged.length, 3)
  t.equal(main.received.length, 0)
})

t.test('a hook that publishes while a worker publishes', async t => {
  const { app } = await buildApp(t, { embedded: true, publishTimeout: 0 })
  const seen: string[] = []
  app.mqtt.topic('#', { qos: 1 }, message => { seen.push(message.topic) })
  app.mqtt.addHook('onPublish', async packet => {
    await turn()
    await app.mqtt.publish('audit', packet.topic, { qos: 1 })
  })
  await connect(app)
  await withinTime(Promise.all([run('awaited', { topic: 'w', count: 20, qos: 1 }), app.mqtt.publish('m', '', { qos: 1 })]), 'publishes that wait for themselves')
  await waitFor(() => seen.length === 42, 'all, and those of the hook')
  t.strictSame(seen.filter(topic => topic.startsWith('w/')), Array.from({ length: 20 }, (_, n) => `w/${n}`))
  t.equal(seen.filter(topic => topic === 'audit').length, 21)
})

t.test('requests of workers', { skip: mosquittoMissing() }, async t => {
  const broker = await startMosquitto(t)
  const stage = async (options: MqttPluginOptions): Promise<{ app: FastifyInstance, ask: (topic: string, payload?: string) => Promise<Record<string, unknown>> }> => {
    const { app } = await buildApp(t, { url: broker.url, protocolVersion: 5, prefix: 'p', ...options })
    app.mqtt.topic('echo', message => message.text())
    app.mqtt.addHook('onPublish', async packet => {
      await turn()
      const text = packet.payload.toString()
      if (text === 'bad') throw new Error('not that')
      // eslint-disable-next-line no-throw-literal
      if (text === 'nothing') throw undefined
      if (text === 'odd') throw Object.assign(new Error('odd'), { code: () => {} })
      if (text === 'away') packet.topic = 'p/secret'
      if (packet.topic === 'p/echo') packet.payload = `<${text}>`
    })
    await connect(app)
    const pool = new Piscina({ filename: new URL('../request/fixtures/request-task.js', import.meta.url).href, ...PLAIN, minThreads: 1, maxThreads: 1 })
    t.after(() => pool.destroy())
    app.mqtt.attach(pool)
    return { app, ask: (topic, payload) => pool.run({ topic, payload }, { name: 'ask' }) as Promise<Record<string, unknown>> }
  }
  const { ask } = await stage({ workers: { topics: ['p/echo'] } })
  t.match(await ask('echo', 'x'), { text: '<x>' })
  t.match(await ask('echo', 'bad'), { error: { message: 'not that' } })
  t.match(await ask('echo', 'nothing'), { error: { message: /thrown nothing/ } })
  t.match(await ask('echo', 'odd'), { error: { message: 'odd' } })
  t.match(await ask('echo', 'away'), { error: { code: 'FST_MQTT_WORKER_TOPIC' } })
  t.match(await ask('echo', 'y'), { text: '<y>' })
})
