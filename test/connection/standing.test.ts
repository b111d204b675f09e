import t, { type Test } from 'tap'
import type { FastifyInstance } from 'fastify'
import { scriptedApp } from '../faults/scripted-app.ts'
import type { ScriptedConnection } from '../faults/scripted-broker.ts'
import { buildApp, connect } from '../support/app.ts'
import { waitFor } from '../support/events.ts'
import { mosquittoMissing, startMosquitto } from '../support/mosquitto.ts'

/*
 * MQTT 5: of the copies that a broker sends of one message that no route matches, one reaches the not-found handler. It must be one that
 * comes: a subscription that the broker has refused, or does not have yet, brings none. Otherwise a message is acknowledged, and nobody
 * has seen it.
 */

/** In both orders of their identifiers, which are made from the text. */
const pairs: ReadonlyArray<[there: string, other: string]> = [['news/+', 'news/#'], ['news/#', 'news/+'], ['news/+', '#'], ['+/1', 'news/#'], ['news/#', '+/1']]

interface Stage {
  readonly app: FastifyInstance
  readonly seen: string[]
  /** Delivers one at QoS 1 with the identifiers of these filters, and waits for its acknowledgement. */
  deliver (payload: string, ...filters: string[]): Promise<void>
}

/** What `answer` gives is the answer to a SUBSCRIBE; false is none. */
async function stage (t: Test, answer: (filter: string) => false | { granted: number[] } | undefined): Promise<Stage> {
  const { app, broker } = await scriptedApp(t, { onSubscribe: ({ subscriptions }) => answer(subscriptions[0]!.topic) })
  const seen: string[] = []
  app.mqtt.setNotFoundHandler(message => { seen.push(message.text()) })
  await app.ready()
  let id = 0
  const idOf = (connection: ScriptedConnection, filter: string): number =>
    connection.of('subscribe').find(({ subscriptions }) => subscriptions[0]!.topic === filter)!.properties!.subscriptionIdentifier as unknown as number
  const deliver = async (payload: string, ...filters: string[]): Promise<void> => {
    const { last } = broker
    const ids = filters.map(filter => idOf(last, filter))
    last.deliver({ topic: 'news/1', qos: 1, messageId: ++id, payload, properties: { subscriptionIdentifier: (ids.length === 1 ? ids[0] : ids) as never } })
    await last.until('puback', id)
  }
  return { app, seen, deliver }
}

for (const [there, other] of pairs) {
  t.test(`subscribe(${there}), and ${other} is refused`, async t => {
    const { app, seen, deliver } = await stage(t, filter => filter === other ? { granted: [0x87] } : undefined)
    await t.rejects(app.mqtt.subscribe(other, { qos: 1 }), { code: 'FST_MQTT_SUBSCRIBE_REFUSED' })
    await app.mqtt.subscribe(there, { qos: 1 })
    await deliver('one', there)
    t.strictSame(seen, ['one'])
  })

  t.test(`subscribe(${there}), and the broker does not have ${other} yet`, async t => {
    const { app, seen, deliver } = await stage(t, filter => filter === other ? false : undefined)
    await app.mqtt.subscribe(there, { qos: 1 })
    void app.mqtt.subscribe(other, { qos: 1 })
    await deliver('one', there)
    t.strictSame(seen, ['one'])
  })

  t.test(`subscribe(${there}), then ${other}: what the broker has queued in between comes behind SUBACK`, async t => {
    const { app, seen, deliver } = await stage(t, () => undefined)
    await app.mqtt.subscribe(there, { qos: 1 })
    await app.mqtt.subscribe(other, { qos: 1 })
    await deliver('queued', there)
    await deliver('one', other)
    await deliver('one', there)
    await deliver('both in one', there, other)
    t.strictSame(seen, ['queued', 'one', 'both in one'], 'and a copy for each is one message')
  })

  const answers: Array<[state: string, answer: false | { granted: number[] }]> = [['has refused', { granted: [0x87] }], ['does not have yet', false]]
  for (const [state, answer] of answers) {
    t.test(`subscribe(${there}), and a route ${other} that the broker ${state}`, async t => {
      const { app, seen, deliver } = await stage(t, filter => filter === other ? answer : undefined)
      let handled = 0
      app.mqtt.topic(other, { qos: 1 }, () => { handled++ }).subscribed.catch(() => {})
      await app.mqtt.subscribe(there, { qos: 1 })
      if (answer !== false) await waitFor(() => app.mqtt.subscriptions.every(({ status }) => status !== 'pending'), 'the refusal')
      await deliver('one', there)
      t.equal(seen.length + handled, 1)
    })
  }
}

t.test('on mosquitto, in the middle of a stream', { skip: mosquittoMissing() }, async t => {
  const broker = await startMosquitto(t)
  const { app } = await buildApp(t, { url: broker.url, protocolVersion: 5 })
  const { app: other } = await buildApp(t, { url: broker.url, protocolVersion: 5 })
  const seen = new Map<string, number>()
  app.mqtt.setNotFoundHandler(message => {
    const n = message.text()
    seen.set(n, (seen.get(n) ?? 0) + 1)
    if (n === '100') void app.mqtt.subscribe('news/#', { qos: 1 })
  })
  await connect(app)
  await connect(other)
  await app.mqtt.subscribe('news/+', { qos: 1 })
  await Promise.all(Array.from({ length: 600 }, (_, n) => other.mqtt.publish('news/1', n, { qos: 1 })))
  await other.mqtt.publish('news/1', 'end', { qos: 1 })
  await waitFor(() => seen.has('end') && app.mqtt.status().inbox.messages === 0, 'the last')
  t.equal(601 - seen.size, 0, 'none is lost')
  t.ok([...seen.values()].every(times => times === 1), 'none is seen twice')
})

for (const [quiet, other] of pairs) {
  t.test(`on mosquitto: subscribe(${quiet}) with noLocal brings no copy of our own, subscribe(${other}) does`, { skip: mosquittoMissing() }, async t => {
    const broker = await startMosquitto(t)
    const { app } = await buildApp(t, { url: broker.url, protocolVersion: 5 })
    const seen: string[] = []
    app.mqtt.setNotFoundHandler(message => { seen.push(message.text()) })
    await connect(app)
    await app.mqtt.subscribe(quiet, { qos: 1, noLocal: true })
    await app.mqtt.subscribe(other, { qos: 1 })
    await app.mqtt.publish('news/1', 'own', { qos: 1 })
    await waitFor(() => app.mqtt.status().counters.received === 1 && app.mqtt.status().inbox.messages === 0, 'the message')
    t.strictSame(seen, ['own'])
  })
}

for (const [quiet, other] of pairs) {
  t.test(`on mosquitto: what is retained, subscribe(${quiet}) with retainHandling 2, then subscribe(${other})`, { skip: mosquittoMissing() }, async t => {
    const broker = await startMosquitto(t)
    const { app } = await buildApp(t, { url: broker.url, protocolVersion: 5 })
    const seen: string[] = []
    app.mqtt.setNotFoundHandler(message => { seen.push(message.text()) })
    await connect(app)
    await app.mqtt.publish('news/1', 'kept', { qos: 1, retain: true })
    await app.mqtt.subscribe(quiet, { qos: 1, retainHandling: 2 })
    await app.mqtt.subscribe(other, { qos: 1 })
    await waitFor(() => app.mqtt.status().counters.received === 1 && app.mqtt.status().inbox.messages === 0, 'the message')
    t.strictSame(seen, ['kept'])
  })
}
