import t from 'tap'
import { liveApp, numbers, publishAll } from '../faults/scripted-app.ts'
import type { Script } from '../faults/scripted-broker.ts'

/* QoS 2 exchanges that an earlier process of the same session left open (MQTT 5 section 4.3.3). */

const durable = { session: { clean: false, expiry: 60 }, clientId: 'durable' }

/** A broker that keeps to the letter: what comes under an id with an open exchange is answered, and not delivered. */
function strict (open: Set<number>): { script: Script, delivered: string[] } {
  const delivered: string[] = []
  return {
    delivered,
    script: {
      onConnect: () => ({ sessionPresent: true }),
      onPublish: ({ qos, messageId, payload }) => {
        if (qos === 2 && open.has(messageId!)) return
        if (qos === 2) open.add(messageId!)
        delivered.push(String(payload))
      },
      onPubrel: ({ messageId }, { version }) => open.delete(messageId!) || version < 5 ? undefined : { reasonCode: 0x92 }
    }
  }
}

/** Any of ours: the earlier process may have died at any of them. */
function anyId (): Set<number> {
  return new Set(Array.from({ length: 0x8000 }, (_, i) => 0x8000 + i))
}

for (const version of [5, 4] as const) {
  t.test(`MQTT ${version}: exchanges left open by a dead process swallow nothing, and order is kept`, async t => {
    const { script, delivered } = strict(anyId())
    const { app, broker } = await liveApp(t, script, { protocolVersion: version, ...durable })
    const outcomes = await publishAll(app, 1, 60, n => ({ qos: n % 3 === 0 ? 1 : 2 }))
    t.ok(outcomes.every(({ code }) => code === 'ok'))
    t.strictSame(delivered, numbers(1, 60))
    t.equal(app.mqtt.status().outbox.inflight, 0)
    const before = broker.last.of('pubrel').length
    await publishAll(app, 61, 70, { qos: 2 })
    t.equal(broker.last.of('pubrel').length, before + 10, 'once is enough')
  })

  t.test(`MQTT ${version}: a connection that ends meanwhile: they are cleared on the next`, async t => {
    const { script, delivered } = strict(anyId())
    let cuts = 0
    const { app } = await liveApp(t, {
      ...script,
      onPubrel: (packet, connection) => {
        if (cuts < 2 && connection.of('pubrel').length === 5) {
          cuts++
          connection.drop()
          return false
        }
        return script.onPubrel!(packet, connection)
      }
    }, { protocolVersion: version, ...durable })
    t.ok((await publishAll(app, 1, 20, { qos: 2 })).every(({ code }) => code === 'ok'))
    t.equal(cuts, 2)
    t.strictSame(delivered, numbers(1, 20))
  })

  t.test(`MQTT ${version}: without the session there is nothing to clear`, async t => {
    const { script, delivered } = strict(new Set())
    const { app, broker } = await liveApp(t, { ...script, onConnect: () => ({ sessionPresent: false }) }, { protocolVersion: version, ...durable })
    await publishAll(app, 1, 5, { qos: 2 })
    t.equal(broker.last.of('pubrel').length, 5)
    t.strictSame(delivered, numbers(1, 5))
  })
}

t.test('a full inbox is read on for the answers', async t => {
  const { script, delivered } = strict(anyId())
  const handled: Promise<unknown>[] = []
  const { broker } = await liveApp(t, script, { ...durable, inbox: { maxMessages: 2 }, concurrency: 2 }, app => {
    app.mqtt.topic('in/<int:n>', { qos: 1 }, async ({ params }) => {
      const published = app.mqtt.publish('n', params.n, { qos: 2 })
      handled.push(published)
      await published
    })
  })
  broker.last.deliver(...Array.from({ length: 20 }, (_, n) => ({ topic: `in/${n}`, qos: 1 as const, messageId: n + 1 })))
  await broker.last.until('puback', 20)
  t.strictSame([...delivered].sort(), numbers(0, 19).sort())
  t.equal(handled.length, 20)
})
