import t from 'tap'
import type { Message, QoS } from '../../lib/index.ts'
import { allSettings, buildApp, connect, mosquittoSettings } from '../support/app.ts'
import { connectClient } from '../support/client.ts'
import { waitFor } from '../support/events.ts'
import { Ledger } from '../support/ledger.ts'
import { mosquittoMissing, startMosquitto } from '../support/mosquitto.ts'

// With its default of 20, mosquitto 2.0.11 may reorder; see test/faults/bad-input.test.ts.
for (const { name, skip, start } of allSettings(['max_inflight_messages 0'])) {
  t.test(name, { skip }, t => {
    t.test('a typed route gets what is published, at every QoS', async t => {
      const { options } = await start(t)
      const { app } = await buildApp(t, options)
      const got: Array<[number, string, QoS]> = []
      app.mqtt.topic('number/<int:n>', { name: 'number', qos: 2 }, message => {
        got.push([message.params.n, message.text(), message.qos])
      })
      await connect(app)
      for (const qos of [0, 1, 2] as const) {
        t.strictSame(await app.mqtt.publish(app.mqtt.topicFor('number', { n: qos }), `qos ${qos}`, { qos }), { reasonCode: 0 })
      }
      await waitFor(() => got.length === 3, 'three messages')
      t.strictSame(got.sort(), [[0, 'qos 0', 0], [1, 'qos 1', 1], [2, 'qos 2', 2]])
      t.match(app.mqtt.status().counters, { published: 3, received: 3, handled: 3, failed: 0, unmatched: 0 })
    })

    t.test('a thousand numbered messages: none lost, none twice at QoS 2, in order', async t => {
      const { options } = await start(t)
      const { app } = await buildApp(t, options)
      const ledgers = [new Ledger(), new Ledger(), new Ledger()]
      app.mqtt.topic('count/<int:qos>', { qos: 2 }, message => {
        ledgers[message.params.qos]!.received(Number(message.text()))
      })
      await connect(app)
      const confirmations: Array<Promise<unknown>> = []
      for (let i = 0; i < 1_000; i++) {
        for (const qos of [0, 1, 2] as const) {
          const n = ledgers[qos]!.next()
          confirmations.push(app.mqtt.publish(`count/${qos}`, n, { qos }).then(() => ledgers[qos]!.confirmed(n)))
        }
      }
      await Promise.all(confirmations)
      await waitFor(() => ledgers.every(({ counts }) => counts.received === 1_000), 'all messages')
      for (const ledger of ledgers) {
        t.strictSame(ledger.report(), { lost: [], duplicated: [], foreign: [], reordered: [] })
      }
      t.match(app.mqtt.status(), { outbox: { messages: 0, bytes: 0, inflight: 0 }, inbox: { messages: 0, bytes: 0, running: 0 } })
    })

    t.test('payloads of every kind arrive as what they are', async t => {
      const { options } = await start(t)
      const { app } = await buildApp(t, options)
      const bodies: unknown[] = []
      app.mqtt.topic('any', { qos: 1 }, message => { bodies.push(message.body) })
      await connect(app)
      const bytes = Buffer.from([0xff, 0, 0xfe])
      for (const payload of ['text', 42, true, 12n, null, undefined, { a: [1] }, bytes, new Uint16Array([1]).buffer, 'x'.repeat(300_000)]) {
        await app.mqtt.publish('any', payload, { qos: 1 })
      }
      await waitFor(() => bodies.length === 10, 'ten messages')
      t.strictSame(bodies, ['text', 42, true, 12, '', '', { a: [1] }, bytes, '\x01\x00', 'x'.repeat(300_000)])
    })

    t.test('a retained message greets a late route', async t => {
      const { options } = await start(t)
      const { app } = await buildApp(t, options)
      // aedes confirms before it stores; once somebody has the message, it has stored it.
      const stored = new Promise<Message>(resolve => app.mqtt.topic('state/lamp', { qos: 1 }, message => { resolve(message) }))
      await connect(app)
      await app.mqtt.publish('state/lamp', 'on', { qos: 1, retain: true })
      await stored
      const greeting = new Promise<Message>(resolve => app.mqtt.topic('state/<name>', message => { resolve(message) }))
      const message = await greeting
      t.equal(message.retain, true)
      t.equal(message.text(), 'on')
    })

    t.test('the prefix is put before what goes out and taken off what comes in', async t => {
      const { options } = await start(t)
      const { app } = await buildApp(t, { ...options, prefix: '/plant/a/' })
      const seen: string[][] = []
      const note = (message: Message): void => { seen.push([message.topic, message.absoluteTopic]) }
      const route = app.mqtt.topic('lamp/<int:n>', { name: 'lamp', qos: 1 }, note)
      app.mqtt.topic('plant/+/all', { absolute: true, qos: 1 }, note)
      await connect(app)
      t.equal(app.mqtt.prefix, 'plant/a')
      t.equal(route.filter, 'plant/a/lamp/+')
      t.equal(app.mqtt.filterFor('lamp'), 'lamp/+')
      t.equal(app.mqtt.filterFor('lamp', { absolute: true }), 'plant/a/lamp/+')
      t.equal(app.mqtt.topicFor('lamp', { n: 3 }), 'lamp/3')
      t.equal(app.mqtt.topicFor('lamp', { n: 3 }, { absolute: true }), 'plant/a/lamp/3')
      await app.mqtt.publish('lamp/3', '', { qos: 1 })
      await app.mqtt.publish('plant/b/all', '', { qos: 1, absolute: true })
      await app.mqtt.publish('plant/ab/lamp/3', '', { qos: 1, absolute: true })
      await waitFor(() => seen.length === 2, 'two messages')
      t.strictSame(seen, [['lamp/3', 'plant/a/lamp/3'], ['plant/b/all', 'plant/b/all']])
    })

    t.test('every matching route runs exactly once, however filters overlap', async t => {
      const { options } = await start(t)
      const { app } = await buildApp(t, options)
      const runs = new Map<string, number>()
      const count = (name: string) => (): void => { runs.set(name, (runs.get(name) ?? 0) + 1) }
      app.mqtt.topic('o/#', { qos: 1 }, count('hash'))
      app.mqtt.topic('o/+/x', { qos: 2 }, count('plus'))
      app.mqtt.topic('o/<int:n>/x', { qos: 0 }, count('int'))
      app.mqtt.topic('o/<name>/x', { qos: 1 }, count('str'))
      app.mqtt.topic('o/5/x', { qos: 1 }, count('static'))
      await connect(app)
      for (let i = 0; i < 20; i++) await app.mqtt.publish('o/5/x', '', { qos: 1 })
      await waitFor(() => app.mqtt.status().counters.handled === 100, 'a hundred runs')
      t.strictSame([...runs].sort(), [['hash', 20], ['int', 20], ['plus', 20], ['static', 20], ['str', 20]])
      await app.mqtt.publish('o/none/x', '', { qos: 1 })
      await waitFor(() => runs.get('str') === 21, 'the other')
      t.equal(runs.get('int'), 20)
    })

    t.test('the not-found handler sees once what subscribe() brings and no route wants', async t => {
      const { options } = await start(t)
      const { app } = await buildApp(t, options)
      const unmatched: string[] = []
      const matched: string[] = []
      app.mqtt.setNotFoundHandler(message => { unmatched.push(message.topic) })
      app.mqtt.topic('s/<int:n>', { qos: 1 }, message => { matched.push(message.topic) })
      await connect(app)
      t.strictSame(await app.mqtt.subscribe(['s/#', 's/+'], { qos: 1 }), [{ filter: 's/#', qos: 1 }, { filter: 's/+', qos: 1 }])
      await app.mqtt.publish('s/abc', '', { qos: 1 })
      await app.mqtt.publish('s/7', '', { qos: 1 })
      await app.mqtt.publish('s/last', '', { qos: 1 })
      await waitFor(() => unmatched.includes('s/last') && matched.length === 1, 'the messages')
      t.strictSame(unmatched, ['s/abc', 's/last'])
      await app.mqtt.unsubscribe('s/+')
      await app.mqtt.unsubscribeAll()
      t.strictSame(app.mqtt.subscriptions.map(({ filter }) => filter), ['s/+'], 'the route keeps its filter')
    })
    t.end()
  })
}

for (const { name, skip, start } of mosquittoSettings(['sys_interval 1'])) {
  t.test(`$SYS: ${name}`, { skip }, async t => {
    const { options } = await start(t)
    const { app } = await buildApp(t, { ...options, prefix: 'mine' })
    const version = new Promise<Message>(resolve => app.mqtt.topic('$SYS/broker/version', { absolute: true }, message => { resolve(message) }))
    const everything: string[] = []
    app.mqtt.topic('#', { absolute: true }, message => { everything.push(message.topic) })
    await connect(app)
    t.match((await version).text(), /^mosquitto version/)
    t.strictSame(everything.filter(topic => topic.startsWith('$')), [])
  })
}

t.test('MQTT 5: nobody is subscribed, and properties arrive', { skip: mosquittoMissing() }, async t => {
  const broker = await startMosquitto(t)
  const { app } = await buildApp(t, { url: broker.url })
  const received = new Promise<Message>(resolve => app.mqtt.topic('p', { qos: 1 }, message => { resolve(message) }))
  await connect(app)
  t.equal(app.mqtt.protocolVersion, 5)
  t.strictSame(await app.mqtt.publish('nobody', '', { qos: 1 }), { reasonCode: 16 })
  const properties = {
    contentType: 'text/plain',
    messageExpiryInterval: 60,
    payloadFormatIndicator: true,
    responseTopic: 'reply/here',
    correlationData: Buffer.from([1, 2]),
    userProperties: { a: 'b', list: ['1', '2'] }
  }
  await app.mqtt.publish('p', 'x', { qos: 1, properties })
  t.match((await received).properties, properties)
})

t.test('an ACL denial rejects with its reason (MQTT 5)', { skip: mosquittoMissing() }, async t => {
  const broker = await startMosquitto(t, { acl: 'topic readwrite ok/#\n' })
  const { app } = await buildApp(t, { url: broker.url })
  await connect(app)
  for (const qos of [1, 2] as const) {
    await t.rejects(app.mqtt.publish('denied', '', { qos }), { code: 'FST_MQTT_PUBLISH_REFUSED', reasonCode: 0x87, message: /0x87 Not authorized/, maybeSent: true })
  }
  t.strictSame(await app.mqtt.publish('ok/1', '', { qos: 1 }), { reasonCode: 16 })
  t.equal(app.mqtt.status().counters.refused, 2)
})

t.test('bad input rejects its caller, and nobody else notices', { skip: mosquittoMissing() }, async t => {
  const broker = await startMosquitto(t, { maxPacketSize: 2_000 })
  const { app } = await buildApp(t, { url: broker.url })
  const peer = await connectClient(t, broker.url)
  const seen = await peer.messages('#')
  await connect(app)
  const detached = new Uint8Array(8)
  structuredClone(detached, { transfer: [detached.buffer] })
  const cycle: Record<string, unknown> = {}
  cycle.self = cycle
  const bad: Array<[unknown, unknown, unknown, string]> = [
    ['a/+', '', {}, 'FST_MQTT_TOPIC'],
    ['', '', {}, 'FST_MQTT_TOPIC'],
    ['a\0b', '', {}, 'FST_MQTT_TOPIC'],
    ['\ud800', '', {}, 'FST_MQTT_TOPIC'],
    ['x'.repeat(70_000), '', {}, 'FST_MQTT_TOPIC'],
    [7, '', {}, 'FST_MQTT_TOPIC'],
    ['a', () => {}, {}, 'FST_MQTT_PAYLOAD'],
    ['a', cycle, {}, 'FST_MQTT_PAYLOAD'],
    ['a', Symbol('s'), {}, 'FST_MQTT_PAYLOAD'],
    ['a', detached, {}, 'FST_MQTT_PAYLOAD'],
    ['a', Buffer.alloc(5_000), {}, 'FST_MQTT_PAYLOAD'],
    ['a', '', { qos: 3 }, 'FST_MQTT_PROPERTY'],
    ['a', '', { qos: '1' }, 'FST_MQTT_PROPERTY'],
    ['a', '', { retian: true }, 'FST_MQTT_PROPERTY'],
    ['a', '', { timeout: -1 }, 'FST_MQTT_PROPERTY'],
    ['a', '', { signal: {} }, 'FST_MQTT_PROPERTY'],
    ['a', '', null, 'FST_MQTT_PROPERTY'],
    ['a', '', { properties: { messageExpiryInterval: -1 } }, 'FST_MQTT_PROPERTY'],
    ['a', '', { properties: { topicAlias: 1 } }, 'FST_MQTT_PROPERTY'],
    ['a', '', { properties: { userProperties: { a: undefined } } }, 'FST_MQTT_PROPERTY'],
    ['a', '', { signal: AbortSignal.abort() }, 'FST_MQTT_ABORTED']
  ]
  const bystanders: Array<Promise<unknown>> = []
  for (const [topic, payload, options, code] of bad) {
    bystanders.push(app.mqtt.publish('ok', 'fine', { qos: 1 }))
    await t.rejects(app.mqtt.publish(topic as string, payload, options as object), { code, maybeSent: false }, code)
  }
  await Promise.all(bystanders)
  const got = await seen.first(bad.length)
  t.ok(got.every(({ topic, text }) => topic === 'ok' && text === 'fine'))
  t.equal(app.mqtt.status().counters.reconnects, 0)
  t.equal(app.mqtt.status().counters.refused, bad.length)
})

for (const { name, skip, start } of mosquittoSettings()) {
  t.test(`a bad filter is refused where it is asked for, and nobody else notices: ${name}`, { skip }, async t => {
    const { options } = await start(t)
    const { app } = await buildApp(t, { ...options, prefix: 'pre' })
    await connect(app)
    for (const filter of ['t/\u0001', 't/\u007f', 't/\ufffe', 'a/'.repeat(300), '/'.repeat(3_000), 'x'.repeat(65_533)]) {
      await t.rejects(app.mqtt.subscribe(filter), { code: 'FST_MQTT_PATTERN' })
      t.throws(() => app.mqtt.topic(filter, () => {}), { code: 'FST_MQTT_PATTERN' })
    }
    t.throws(() => app.mqtt.topic('x'.repeat(65_520), { group: 'group' }, () => {}), { code: 'FST_MQTT_PATTERN' })
    await app.mqtt.publish('ok', '', { qos: 1 })
    t.equal(app.mqtt.status().counters.reconnects, 0)
    t.strictSame(app.mqtt.subscriptions, [])
  })

  t.test(`a kept session's messages of a filter that is no longer wanted are handled all the same: ${name}`, { skip }, async t => {
    const { options, broker } = await start(t)
    const kept = { ...options, clientId: `kept-${process.pid}`, session: { clean: false, ...(options.protocolVersion === 5 && { expiry: 60 }) } }
    const before = await buildApp(t, kept)
    before.app.mqtt.topic('dep/#', { qos: 1 }, () => {})
    await connect(before.app)
    await before.app.close()
    const peer = await connectClient(t, broker!.url)
    for (let n = 0; n < 5; n++) await peer.client.publishAsync(`dep/${n}`, '', { qos: 1 })
    await peer.client.publishAsync('dep/other', '', { qos: 1 })

    const after = await buildApp(t, kept)
    const handled = new Set<number>()
    const unmatched = new Set<string>()
    after.app.mqtt.topic('dep/<int:n>', { qos: 1 }, message => { handled.add(message.params.n) })
    after.app.mqtt.setNotFoundHandler(message => { unmatched.add(message.topic) })
    await connect(after.app)
    await waitFor(() => handled.size === 5 && unmatched.size === 1, 'the messages of before')
  })
}

t.test('whatever a handler returns or throws, the stream goes on', async t => {
  const { app } = await buildApp(t, { embedded: true })
  const { proxy, revoke } = Proxy.revocable({}, {})
  revoke()
  const odd: Array<() => unknown> = [
    () => ({ get then () { throw new Error('no') } }),
    () => proxy,
    () => { throw new Proxy({}, { getPrototypeOf () { throw new Error('no') } }) },
    async () => { throw new Proxy({}, { getPrototypeOf () { throw new Error('no') } }) },
    async () => ({ get then () { throw new Error('no') } }),
    () => { throw undefined } // eslint-disable-line no-throw-literal
  ]
  app.mqtt.topic('odd/<int:n>', { qos: 1 }, ({ params }) => odd[params.n]!())
  await connect(app)
  for (let n = 0; n < odd.length; n++) await app.mqtt.publish(`odd/${n}`, '', { qos: 1 })
  await waitFor(() => app.mqtt.status().counters.handled + app.mqtt.status().counters.failed === odd.length, 'all of them')
  t.match(app.mqtt.status(), { inbox: { messages: 0, running: 0 }, counters: { handled: 2, failed: 4, reconnects: 0 } })
})
