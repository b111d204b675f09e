import type { IPublishPacket } from 'mqtt-packet'
import t from 'tap'
import type { QoS } from '../../lib/index.ts'
import { Outbox } from '../../lib/outbox/outbox.ts'
import { liveApp, numbers, outcome, publishAll, scriptedApp } from '../faults/scripted-app.ts'
import type { ScriptedConnection } from '../faults/scripted-broker.ts'
import { waitFor, withinTime } from '../support/events.ts'
import { delivery, info, Wire } from './support.ts'

const turn = (): Promise<void> => new Promise(resolve => { setImmediate(resolve) })

/** Acknowledges a QoS 1 publish that the script left without an answer. */
function puback (connection: ScriptedConnection, { messageId }: IPublishPacket, reasonCode?: number): void {
  connection.send({ cmd: 'puback', messageId: messageId!, ...(reasonCode !== undefined && { reasonCode }) })
}

t.test('a source that has had more than its share goes on beside one that waits for the window', async t => {
  const outbox = new Outbox({ maxMessages: 1_000, maxBytes: 1e8, inflight: 1 })
  t.teardown(() => outbox.close())
  const main = outbox.createSource('main')
  const worker = outbox.createSource('worker')
  outbox.attach(new Wire(), info)
  const ended: string[] = []
  // Of these nothing is ever confirmed: the second waits for the window.
  for (const name of ['first', 'second']) outbox.add(worker, delivery(1, Infinity, () => { ended.push(name) }))
  await turn()
  outbox.add(main, delivery(0, Infinity, () => { ended.push('large') }, 'x'.repeat(1_000_000)))
  await waitFor(() => ended.length === 1, 'the large one')
  outbox.add(main, delivery(0, Infinity, () => { ended.push('small') }))
  await waitFor(() => ended.length === 2, 'the small one')
  t.strictSame(ended, ['large', 'small'])
})

t.test('the window', t => {
  t.test("the broker's Receive Maximum counts QoS 1 and 2 together", async t => {
    let open = 0
    let most = 0
    const { app, broker } = await liveApp(t, {
      onConnect: () => ({ properties: { receiveMaximum: 5 } }),
      onPublish: ({ qos }) => { open++; most = Math.max(most, open); if (qos === 1) setImmediate(() => { open-- }) },
      onPubrel: () => { open-- }
    })
    const outcomes = await publishAll(app, 1, 60, n => ({ qos: n % 2 === 0 ? 1 : 2 }))
    t.ok(outcomes.every(({ code }) => code === 'ok'))
    t.strictSame(broker.last.published, numbers(1, 60), 'in the order published, across QoS')
    t.ok(most <= 5, `${most} at once`)
  })

  t.test('exactly so many leave before the first acknowledgement, and one more at each', async t => {
    for (const [receiveMaximum, inflight] of [[3, 500], [500, 3]] as const) {
      const { app, broker } = await liveApp(t, {
        onConnect: () => ({ properties: { receiveMaximum } }), onPublish: () => false
      }, { outbox: { inflight } })
      const all = publishAll(app, 1, 5, { qos: 1 })
      const [first] = await broker.last.until('publish', 3)
      await turn()
      await turn()
      t.equal(broker.last.of('publish').length, 3)
      t.equal(app.mqtt.status().outbox.inflight, 3)
      puback(broker.last, first!)
      await broker.last.until('publish', 4)
      for (const packet of (await broker.last.until('publish', 4)).slice(1)) puback(broker.last, packet)
      puback(broker.last, (await broker.last.until('publish', 5))[4]!)
      t.ok((await all).every(({ code }) => code === 'ok'))
      t.strictSame(app.mqtt.status().outbox, { messages: 0, bytes: 0, inflight: 0 })
    }
  })

  t.test('QoS 0 does not wait for the window', async t => {
    const { app, broker } = await liveApp(t, { onPublish: () => false }, { outbox: { inflight: 1 } })
    void outcome(app.mqtt.publish('n', 'held', { qos: 1 }))
    await broker.last.until('publish')
    await withinTime(app.mqtt.publish('n', 'free'), 'QoS 0')
    t.strictSame((await broker.last.until('publish', 2)).map(({ qos }) => qos), [1, 0])
  })

  t.test('before MQTT 5 few QoS 2 are open at once, and QoS 1 passes by no queue', async t => {
    let open = 0
    let most = 0
    const { app } = await liveApp(t, {
      onPublish: () => { most = Math.max(most, ++open) }, onPubrel: () => { open-- }
    }, { protocolVersion: 4 })
    t.ok((await publishAll(app, 1, 100, { qos: 2 })).every(({ code }) => code === 'ok'))
    t.equal(most, 10)
  })
  t.end()
})

t.test('order', t => {
  for (const version of [5, 4] as const) {
    t.test(`across QoS, over several turns, offline and on: ${version}`, async t => {
      const { app, broker } = await scriptedApp(t, {}, { protocolVersion: version, publishTimeout: 0 })
      const qos = (n: number): { qos: QoS } => ({ qos: n * 7 % 3 as QoS })
      const offline = publishAll(app, 1, 100, qos)
      await app.ready()
      await waitFor(() => app.mqtt.connected, 'CONNACK')
      const later: Array<Promise<unknown>> = [offline]
      for (let round = 1; round < 10; round++) {
        later.push(publishAll(app, round * 100 + 1, round * 100 + 100, qos))
        await turn()
      }
      await Promise.all(later)
      t.strictSame(broker.last.published, numbers(1, 1000))
    })
  }
  t.end()
})

t.test('70 000 publishes offline all settle, under ids that are unique while pending', async t => {
  const pending = new Set<number>()
  let doubled = 0
  let low = 0
  const { app } = await scriptedApp(t, {
    onPublish: ({ messageId: id }) => {
      if (pending.has(id!)) doubled++
      if (id! < 0x8000) low++
      pending.add(id!)
      setImmediate(() => { pending.delete(id!) })
    }
  }, { outbox: { maxMessages: 100_000 }, publishTimeout: 0 })
  const all = publishAll(app, 1, 70_000, { qos: 1 })
  t.equal(app.mqtt.status().outbox.messages, 70_000)
  await app.ready()
  t.ok((await all).every(({ code }) => code === 'ok'))
  t.equal(doubled, 0)
  t.equal(low, 0)
  t.equal(app.mqtt.status().counters.published, 70_000)
})

t.test('several large QoS 0 publishes in one turn all leave', async t => {
  const { app, broker } = await liveApp(t, {})
  const payload = 'x'.repeat(300_000)
  const all = Promise.all([1, 2, 3, 4].map(() => outcome(app.mqtt.publish('big', payload, { timeout: 1_500 }))))
  t.strictSame((await all).map(({ code }) => code), ['ok', 'ok', 'ok', 'ok'])
  t.notOk(broker.last.error)
})

t.test('what mqtt.js has filled the socket with is waited for', async t => {
  const { app, broker } = await liveApp(t, {})
  broker.last.socket.pause()
  app.mqtt.client.publish('escape', Buffer.alloc(8 * 1024 * 1024))
  // mqtt.js writes at the end of the tick.
  await turn()
  const own = outcome(app.mqtt.publish('own', 'x', { timeout: 1_500 }))
  await turn()
  await turn()
  broker.last.socket.resume()
  t.equal((await own).code, 'ok')
})
