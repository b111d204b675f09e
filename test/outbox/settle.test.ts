import { getEventListeners } from 'node:events'
import t from 'tap'
import { Outbox } from '../../lib/outbox/outbox.ts'
import { liveApp, outcome, publishAll, scriptedApp } from '../faults/scripted-app.ts'
import { waitFor, withinTime } from '../support/events.ts'
import { delivery } from './support.ts'

const turn = (): Promise<void> => new Promise(resolve => { setImmediate(resolve) })

t.test('deadlines', t => {
  t.test('queued: not a byte has left', async t => {
    const { app } = await scriptedApp(t, {})
    t.match(await outcome(app.mqtt.publish('n', '', { qos: 1, timeout: 20 })), { code: 'FST_MQTT_TIMEOUT', maybeSent: false })
    t.match(await outcome(app.mqtt.publish('n', '', { timeout: 20 })), { code: 'FST_MQTT_TIMEOUT', maybeSent: false })
    t.strictSame(app.mqtt.status().outbox, { messages: 0, bytes: 0, inflight: 0 })
  })

  t.test('behind the window: not a byte has left', async t => {
    const { app, broker } = await liveApp(t, { onPublish: () => false }, { outbox: { inflight: 1 }, publishTimeout: 30 })
    t.match(await publishAll(app, 1, 2, { qos: 1 }), [{ code: 'FST_MQTT_TIMEOUT', maybeSent: true }, { code: 'FST_MQTT_TIMEOUT', maybeSent: false }])
    t.equal(broker.last.of('publish').length, 1)
  })

  for (const qos of [1, 2] as const) {
    t.test(`sent, QoS ${qos}: it may have been, and its late acknowledgement is taken`, async t => {
      const { app, broker } = await liveApp(t, { onPublish: () => false })
      const late = outcome(app.mqtt.publish('n', '', { qos, timeout: 20 }))
      const [packet] = await broker.last.until('publish')
      t.match(await late, { code: 'FST_MQTT_TIMEOUT', maybeSent: true })
      t.equal(app.mqtt.status().outbox.inflight, 1, 'its id is not free yet')
      broker.last.send({ cmd: qos === 1 ? 'puback' : 'pubrec', messageId: packet!.messageId! })
      await waitFor(() => app.mqtt.status().outbox.inflight === 0, 'the end of the exchange')
      t.strictSame(app.mqtt.status().outbox, { messages: 0, bytes: 0, inflight: 0 })
      t.match(app.mqtt.status().counters, { published: 0, refused: 1 })
    })
  }

  t.test('closing does not wait for what was given up', async t => {
    const { app } = await liveApp(t, { onPublish: ({ payload }) => String(payload) === 'confirmed' && undefined }, { closeTimeout: 60_000 })
    t.match(await outcome(app.mqtt.publish('n', 'silent', { qos: 1, timeout: 20 })), { code: 'FST_MQTT_TIMEOUT', maybeSent: true })
    const confirmed = outcome(app.mqtt.publish('n', 'confirmed', { qos: 1 }))
    await withinTime(app.close(), 'the end')
    t.match(await confirmed, { code: 'ok' }, 'what somebody waits for is')
  })

  t.test('released: PUBREC came, PUBCOMP did not', async t => {
    const { app } = await liveApp(t, { onPubrel: () => false })
    t.match(await outcome(app.mqtt.publish('n', '', { qos: 2, timeout: 20 })), { code: 'FST_MQTT_TIMEOUT', maybeSent: true })
  })

  t.test('publishTimeout is the default; timeout 0 is never; each keeps its own', async t => {
    const { app } = await scriptedApp(t, {}, { publishTimeout: 20 })
    const never = app.mqtt.publish('n', '', { qos: 1, timeout: 0 })
    const [later, soon] = [outcome(app.mqtt.publish('n', '', { timeout: 200 })), outcome(app.mqtt.publish('n', '', { qos: 1 }))]
    const order: string[] = []
    void later.then(() => order.push('later'))
    void soon.then(() => order.push('soon'))
    await later
    t.strictSame(order, ['soon', 'later'])
    await app.close()
    await t.rejects(never, { code: 'FST_MQTT_CLOSED', maybeSent: false })
  })

  t.test('an outbox that is offline for long keeps nothing of what has timed out', async t => {
    const outbox = new Outbox({ maxMessages: 1_000, maxBytes: 1024 * 1024, inflight: 10 })
    t.after(() => outbox.close())
    const source = outbox.createSource('test')
    for (let round = 0; round < 10; round++) {
      for (let i = 0; i < 100; i++) outbox.add(source, delivery(1, performance.now() + 1, () => {}))
      await waitFor(() => outbox.messages === 0, 'the timeouts')
    }
    t.equal(outbox.messages, 0)
    t.ok(source.queue.length <= 200, `${source.queue.length} deliveries, with their memory, are kept of 1000 that have timed out`)
  })

  t.test('nor does one that never times out pin those behind it', t => {
    const outbox = new Outbox({ maxMessages: 1_000, maxBytes: 1024 * 1024, inflight: 10 })
    t.after(() => outbox.close())
    const source = outbox.createSource('test')
    outbox.add(source, delivery(1, Infinity, () => {}))
    for (let round = 0; round < 10; round++) {
      for (let i = 0; i < 100; i++) {
        const one = delivery(1, Infinity, () => {})
        outbox.add(source, one)
        outbox.abandon(one, new Error('aborted'))
      }
    }
    t.equal(outbox.messages, 1)
    t.ok(source.queue.length <= 200, `${source.queue.length} deliveries are kept for one`)
    t.end()
  })
  t.end()
})

t.test('AbortSignal', t => {
  t.test('before: nothing is taken', async t => {
    const { app } = await scriptedApp(t, {})
    const reason = new Error('why')
    await t.rejects(app.mqtt.publish('n', '', { signal: AbortSignal.abort(reason) }), { code: 'FST_MQTT_ABORTED', maybeSent: false, cause: reason })
    t.equal(app.mqtt.status().outbox.messages, 0)
  })

  t.test('queued: it never leaves', async t => {
    const { app, broker } = await scriptedApp(t, {})
    const controller = new AbortController()
    const aborted = outcome(app.mqtt.publish('n', 'aborted', { qos: 1, signal: controller.signal }))
    const other = app.mqtt.publish('n', 'other', { qos: 1 })
    controller.abort()
    t.match(await aborted, { code: 'FST_MQTT_ABORTED', maybeSent: false })
    await app.ready()
    await other
    t.strictSame(broker.last.published, ['other'])
  })

  for (const qos of [1, 2] as const) {
    t.test(`sent, QoS ${qos}, and again after a reconnect: the exchange goes on without the caller`, async t => {
      let answer = false
      const { app, broker } = await liveApp(t, {
        onConnect: (_packet, connection) => ({ sessionPresent: connection.index > 0 }),
        onPublish: () => answer ? undefined : false
      }, { session: { clean: false, expiry: 60 }, clientId: 'x' })
      const controller = new AbortController()
      const aborted = outcome(app.mqtt.publish('n', '', { qos, signal: controller.signal }))
      await broker.last.until('publish')
      controller.abort()
      controller.abort()
      t.match(await aborted, { code: 'FST_MQTT_ABORTED', maybeSent: true })
      answer = true
      broker.last.drop()
      await broker.connection(1)
      await waitFor(() => app.mqtt.status().outbox.messages === 0, 'the end of the exchange')
      t.match(broker.last.of('publish'), [{ dup: true }])
    })
  }

  t.test('released', async t => {
    const { app, broker } = await liveApp(t, { onPubrel: () => false })
    const controller = new AbortController()
    const aborted = outcome(app.mqtt.publish('n', '', { qos: 2, signal: controller.signal }))
    const [pubrel] = await broker.last.until('pubrel')
    controller.abort()
    t.match(await aborted, { code: 'FST_MQTT_ABORTED', maybeSent: true })
    broker.last.send({ cmd: 'pubcomp', messageId: pubrel!.messageId! })
    await waitFor(() => app.mqtt.status().outbox.messages === 0, 'PUBCOMP')
  })

  t.test('after: nothing happens, and no listener stays', async t => {
    const { app } = await liveApp(t, {})
    const { signal } = new AbortController()
    for (const qos of [0, 1, 2] as const) await app.mqtt.publish('n', '', { qos, signal })
    t.equal(getEventListeners(signal, 'abort').length, 0)
  })
  t.end()
})

t.test('FST_MQTT_OUTBOX_FULL', t => {
  t.test('by messages', async t => {
    const { app } = await scriptedApp(t, {}, { outbox: { maxMessages: 3 } })
    const taken = publishAll(app, 1, 3, n => ({ qos: n % 2 === 0 ? 0 : 1 }))
    for (const qos of [0, 1, 2] as const) {
      t.match(await outcome(app.mqtt.publish('n', '', { qos })), { code: 'FST_MQTT_OUTBOX_FULL', maybeSent: false })
    }
    await app.ready()
    t.ok((await taken).every(({ code }) => code === 'ok'))
    t.equal((await outcome(app.mqtt.publish('n', '', { qos: 1 }))).code, 'ok', 'there is room again')
  })

  t.test('a burst of QoS 0 in one turn is counted one by one', async t => {
    const { app, broker } = await scriptedApp(t, {}, { outbox: { maxMessages: 10 } })
    const all = publishAll(app, 1, 25, {})
    t.equal(app.mqtt.status().outbox.messages, 10)
    await app.ready()
    t.strictSame((await all).map(({ code }) => code === 'ok'), Array.from({ length: 25 }, (_, i) => i < 10))
    await app.mqtt.publish('n', 'last', { qos: 1 })
    t.equal(broker.last.of('publish').length, 11)
    t.match(app.mqtt.status().counters, { published: 11, refused: 15 })
  })

  t.test('by bytes, exactly', async t => {
    // Fixed header 2, topic 3, packet id 2, properties 1: eight, and the payload.
    const { app } = await scriptedApp(t, {}, { outbox: { maxBytes: 216 } })
    const one = outcome(app.mqtt.publish('n', 'x'.repeat(100), { qos: 1 }))
    const two = outcome(app.mqtt.publish('n', 'x'.repeat(100), { qos: 1 }))
    t.equal(app.mqtt.status().outbox.bytes, 216)
    t.match(await outcome(app.mqtt.publish('n', '')), { code: 'FST_MQTT_OUTBOX_FULL' })
    await app.ready()
    t.strictSame([(await one).code, (await two).code], ['ok', 'ok'])
    t.match(await outcome(app.mqtt.publish('n', 'x'.repeat(300))), { code: 'FST_MQTT_OUTBOX_FULL', maybeSent: false }, 'larger than all of it')
  })
  t.end()
})

t.test('close', t => {
  t.test('settles what is queued, sent, released, and abandoned', async t => {
    const { app, broker } = await liveApp(t, {
      onPublish: ({ payload }) => String(payload) === '1' ? undefined : false, onPubrel: () => false
    }, { outbox: { inflight: 2 } })
    const released = outcome(app.mqtt.publish('n', '1', { qos: 2 }))
    const sent = outcome(app.mqtt.publish('n', '2', { qos: 1 }))
    await broker.last.until('pubrel')
    await broker.last.until('publish', 2)
    const queued = outcome(app.mqtt.publish('n', '3', { qos: 1 }))
    const started = performance.now()
    await app.close()
    t.ok(performance.now() - started < 1_300)
    t.match(await Promise.all([released, sent, queued]), [
      { code: 'FST_MQTT_CLOSED', maybeSent: true }, { code: 'FST_MQTT_CLOSED', maybeSent: true }, { code: 'FST_MQTT_CLOSED', maybeSent: false }
    ])
    t.strictSame(app.mqtt.status().outbox, { messages: 0, bytes: 0, inflight: 0 })
    for (const qos of [0, 1] as const) t.match(await outcome(app.mqtt.publish('n', '', { qos })), { code: 'FST_MQTT_CLOSED', maybeSent: false })
  })

  t.test('on a broker that reads nothing, with more than the socket takes', async t => {
    const { app, broker } = await liveApp(t, {})
    broker.last.socket.pause()
    const payload = Buffer.alloc(1024 * 1024)
    const all = Array.from({ length: 20 }, (_, i) => outcome(app.mqtt.publish('n', payload, { qos: (i % 2) as 0 | 1, timeout: 0 })))
    await turn()
    await app.close()
    const outcomes = await withinTime(Promise.all(all), 'every publish', { within: 1_000 })
    t.ok(outcomes.every(({ code }) => code === 'FST_MQTT_CLOSED' || code === 'ok'))
  })

  t.test('confirms what was published, in the order it was', async t => {
    const { app, broker } = await liveApp(t, {
      onPublish: ({ messageId, qos }, connection) => {
        if (qos !== 1) return undefined
        setImmediate(() => { connection.send({ cmd: 'puback', messageId: messageId! }) })
        return false
      }
    }, { closeTimeout: 5_000, outbox: { inflight: 7 } })
    const all = publishAll(app, 1, 300, n => ({ qos: n % 3 as 0 | 1 | 2 }))
    await app.close()
    t.ok((await all).every(({ code }) => code === 'ok'))
    t.equal(broker.last.of('publish').length, 300)
    t.equal(broker.last.received.at(-1)!.cmd, 'disconnect')
    t.equal(broker.connections.length, 1)
  })
  t.end()
})

t.test('nobody awaits: no unhandledRejection', async t => {
  const unhandled: unknown[] = []
  const onUnhandled = (error: unknown): void => { unhandled.push(error) }
  process.on('unhandledRejection', onUnhandled)
  t.after(() => { process.removeListener('unhandledRejection', onUnhandled) })
  const { app, broker } = await liveApp(t, {
    onPublish: ({ payload }) => String(payload) === 'refuse' ? { reasonCode: 0x87 } : false
  }, { outbox: { maxMessages: 20 } })
  const signal = AbortSignal.abort()
  void app.mqtt.publish('a/#', '')
  void app.mqtt.publish('n', 'refuse', { qos: 1 })
  void app.mqtt.publish('n', '', { qos: 1, signal })
  void app.mqtt.publish('n', '', { qos: 1, timeout: 1 })
  void app.mqtt.publish('n', '', { qos: 3 as 0 })
  for (let i = 0; i < 30; i++) void app.mqtt.publish('n', 'x', { qos: 1 })
  await broker.last.until('publish', 15)
  await waitFor(() => app.mqtt.status().counters.refused >= 15, 'the refusals')
  broker.last.drop()
  await app.close()
  await turn()
  await turn()
  t.strictSame(unhandled, [])
})
