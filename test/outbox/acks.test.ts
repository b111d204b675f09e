import t from 'tap'
import { Outbox } from '../../lib/outbox/outbox.ts'
import { PacketType } from '../../lib/wire/packet.ts'
import { liveApp, outcome } from '../faults/scripted-app.ts'
import { waitFor } from '../support/events.ts'
import { delivery, info, Wire } from './support.ts'

t.test('refusals and other reason codes', async t => {
  const codes: Record<string, number> = { a: 0x10, b: 0x87, c: 0x97 }
  const { app, broker } = await liveApp(t, {
    onPublish: ({ topic }) => ({ reasonCode: codes[topic]! })
  })
  t.match(await outcome(app.mqtt.publish('a', '', { qos: 1 })), { code: 'ok', reasonCode: 16 })
  t.match(await outcome(app.mqtt.publish('a', '', { qos: 2 })), { code: 'ok' })
  for (const qos of [1, 2] as const) {
    await t.rejects(app.mqtt.publish('b', '', { qos }), { code: 'FST_MQTT_PUBLISH_REFUSED', reasonCode: 0x87, message: /0x87 Not authorized/, maybeSent: true })
    await t.rejects(app.mqtt.publish('c', '', { qos }), { code: 'FST_MQTT_PUBLISH_REFUSED', reasonCode: 0x97 })
  }
  t.equal(broker.last.of('pubrel').length, 1, 'a refused QoS 2 is over')
  t.strictSame(app.mqtt.status().outbox, { messages: 0, bytes: 0, inflight: 0 })
  t.equal((await outcome(app.mqtt.publish('d', '', { qos: 2 }))).code, 'ok')
})

t.test('PUBCOMP with 0x92: the broker knows nothing of it', async t => {
  const { app } = await liveApp(t, { onPubrel: () => ({ reasonCode: 0x92 }) })
  t.match(await outcome(app.mqtt.publish('a', '', { qos: 2 })), { code: 'FST_MQTT_SESSION_LOST', reasonCode: 0x92, maybeSent: true })
})

t.test('late, duplicate and unknown acknowledgements are ignored', async t => {
  const { app, broker } = await liveApp(t, {
    onPublish: ({ qos, messageId }, connection) => {
      const cmd = qos === 1 ? 'puback' as const : 'pubrec' as const
      connection.send({ cmd, messageId: messageId! }, { cmd, messageId: messageId! })
      return false
    },
    onPubrel: ({ messageId }, connection) => {
      connection.send({ cmd: 'pubcomp', messageId: messageId! }, { cmd: 'pubcomp', messageId: messageId! }, { cmd: 'puback', messageId: 0xffff })
      return false
    }
  }, { outbox: { inflight: 2 } })
  for (let i = 0; i < 10; i++) {
    t.equal((await outcome(app.mqtt.publish('a', '', { qos: 1 }))).code, 'ok')
    t.equal((await outcome(app.mqtt.publish('a', '', { qos: 2 }))).code, 'ok')
  }
  t.equal(broker.connections.length, 1)
  t.equal(app.mqtt.status().counters.published, 20)
})

for (const [name, qos, answer] of [
  ['PUBREC for QoS 1', 1, 'pubrec'], ['PUBCOMP for QoS 1', 1, 'pubcomp'], ['PUBACK for QoS 2', 2, 'puback'],
  ['PUBCOMP for QoS 2 before PUBREC', 2, 'pubcomp']
] as const) {
  t.test(`${name} ends the connection, and the publish is taken up on the next`, async t => {
    const { app, broker } = await liveApp(t, {
      onPublish: ({ messageId }, connection) => {
        if (connection.index > 0) return undefined
        connection.send({ cmd: answer, messageId: messageId! })
        return false
      }
    })
    t.equal((await outcome(app.mqtt.publish('a', '', { qos }))).code, 'ok')
    t.equal(broker.connections.length, 2)
    t.match(broker.last.of('publish'), [{ dup: true, qos }])
  })
}

t.test('an acknowledgement for what waits to be sent again does not widen the window', t => {
  const outbox = new Outbox({ maxMessages: 100, maxBytes: 100_000, inflight: 500 })
  t.after(() => outbox.close())
  const source = outbox.createSource('test')
  const settled: number[] = []
  const first = new Wire()
  outbox.attach(first, info)
  for (let n = 0; n < 3; n++) outbox.add(source, delivery(1, Infinity, () => settled.push(n)))
  queueMicrotask(() => {
    t.equal(outbox.inflight, 3)
    outbox.detach(first)
    const second = new Wire()
    outbox.attach(second, { ...info, receiveMaximum: 1 })
    t.equal(second.packets.length, 1)
    // To the last of the three, which this connection has not seen.
    outbox.acknowledge(second, PacketType.PUBACK, 0x8002, 0)
    queueMicrotask(() => {
      t.equal(second.packets.length, 1, 'the first is still open, and one may be')
      outbox.acknowledge(second, PacketType.PUBACK, 0x8000, 0)
      queueMicrotask(() => {
        outbox.acknowledge(second, PacketType.PUBACK, 0x8001, 0)
        t.equal(outbox.messages, 0)
        outbox.add(source, delivery(1, Infinity, () => {}))
        queueMicrotask(() => {
          t.equal(outbox.awaiting, true)
          t.end()
        })
      })
    })
  })
})

t.test("acknowledgements of another connection's are not taken", t => {
  const outbox = new Outbox({ maxMessages: 100, maxBytes: 100_000, inflight: 500 })
  t.after(() => outbox.close())
  const source = outbox.createSource('test')
  const [first, second] = [new Wire(), new Wire()]
  outbox.attach(first, info)
  outbox.add(source, delivery(1, Infinity, () => {}))
  queueMicrotask(() => {
    outbox.detach(first)
    outbox.acknowledge(first, PacketType.PUBACK, 0x8000, 0)
    t.equal(outbox.messages, 1)
    outbox.attach(second, info)
    outbox.detach(first)
    outbox.acknowledge(second, PacketType.PUBACK, 0x8000, 0)
    t.equal(outbox.messages, 0)
    t.end()
  })
})

t.test('fairness: neither of two sources waits for all of the other', async t => {
  for (const qos of [0, 1] as const) {
    const outbox = new Outbox({ maxMessages: 10_000, maxBytes: 1e9, inflight: 10 })
    t.after(() => outbox.close())
    const [greedy, modest] = [outbox.createSource('greedy'), outbox.createSource('modest')]
    for (let i = 0; i < 1_000; i++) outbox.add(greedy, delivery(qos, Infinity, () => {}, 'g'.repeat(1_000)))
    for (let i = 0; i < 10; i++) outbox.add(modest, delivery(qos, Infinity, () => {}, 'm'))
    const wire = new Wire()
    outbox.attach(wire, info)
    let acknowledged = 0
    await waitFor(() => {
      // One acknowledgement at a time, as a slow broker's.
      if (qos === 1) outbox.acknowledge(wire, PacketType.PUBACK, 0x8000 + acknowledged++, 0)
      return Buffer.concat(wire.packets).toString('latin1').split('m').length === 11
    }, "the modest one's")
    const text = Buffer.concat(wire.packets).toString('latin1')
    const before = text.slice(0, text.lastIndexOf('m')).split('g').length - 1
    t.ok(before <= 100_000, `QoS ${qos}: ${before} bytes of the greedy one's before the last of the modest one's`)
  }
})

t.test('fairness: large messages get no larger share than small ones', async t => {
  const outbox = new Outbox({ maxMessages: 10_000, maxBytes: 1e9, inflight: 10 })
  t.after(() => outbox.close())
  const [large, small] = [outbox.createSource('large'), outbox.createSource('small')]
  for (let i = 0; i < 40; i++) outbox.add(large, delivery(0, Infinity, () => {}, 'l'.repeat(200_000)))
  for (let i = 0; i < 2_000; i++) outbox.add(small, delivery(0, Infinity, () => {}, 's'.repeat(1_000)))
  const wire = new Wire()
  wire.room = 1_000_000
  outbox.attach(wire, info)
  await waitFor(() => !wire.ready, 'a megabyte')
  const text = Buffer.concat(wire.packets).toString('latin1')
  const [l, s] = [text.split('l').length - 1, text.split('s').length - 1]
  t.ok(l < 3 * s, `${l} bytes of the large ones, ${s} of the small ones`)
})
