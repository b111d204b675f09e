import t from 'tap'
import type { MultiMqtt, PublishOptions } from '../../lib/index.ts'
import { waitFor } from '../support/events.ts'
import { nameOf, VERSIONS } from './fixtures/storms.ts'
import { liveApp, outcome } from './scripted-app.ts'

/*
 * Promises P9 and P13: one packet that a broker never answers, and a connection that ends while it is unanswered. It goes alone
 * on the next one, as whatever a broker may have hung up on does, and after five seconds the others do not wait for it any longer.
 */

t.setTimeout(120_000)
t.jobs = 4

const publishes = async (mqtt: MultiMqtt, options: PublishOptions): Promise<string[]> => {
  const all = [mqtt.publish('n', 'one', { ...options, qos: 1 }), mqtt.publish('n', 'two', options), mqtt.publish('n', 'three', { ...options, qos: 2 })]
  return (await Promise.all(all.map(outcome))).map(({ code }) => code)
}

for (const version of VERSIONS) {
  t.test(`${nameOf(version)}: a SUBSCRIBE`, { buffered: true }, async t => {
    const { app, broker } = await liveApp(t, {
      onSubscribe: ({ subscriptions }) => subscriptions[0]!.topic === 'silent' ? false : undefined
    }, { protocolVersion: version }, ({ mqtt }) => {
      mqtt.topic('a', () => {})
      mqtt.topic('b', () => {})
    })
    app.mqtt.topic('silent', () => {}).subscribed.catch(() => {})
    await broker.last.until('subscribe', 3)
    broker.last.drop()
    const second = await broker.connection(1)
    t.strictSame(await publishes(app.mqtt, {}), ['ok', 'ok', 'ok'])
    await second.until('subscribe', 3)
    const status = (): string[] => app.mqtt.subscriptions.map(({ filter, status }) => `${filter} ${status}`).sort()
    await waitFor(() => status()[1] === 'b active', 'the others')
    t.strictSame(status(), ['a active', 'b active', 'silent pending'])
    t.equal(broker.connections.length, 2)
  })

  t.test(`${nameOf(version)}: a PUBLISH`, { buffered: true }, async t => {
    const { app, broker } = await liveApp(t, {
      onPublish: ({ payload }) => String(payload) === 'silent' ? false : undefined
    }, { protocolVersion: version })
    const silent = outcome(app.mqtt.publish('n', 'silent', { qos: 1, timeout: 20_000 }))
    t.strictSame(await publishes(app.mqtt, {}), ['ok', 'ok', 'ok'], 'before')
    broker.last.drop()
    await broker.connection(1)
    t.strictSame(await publishes(app.mqtt, {}), ['ok', 'ok', 'ok'], 'behind it')
    t.strictSame(await publishes(app.mqtt, {}), ['ok', 'ok', 'ok'], 'later')
    t.match(await silent, { code: 'FST_MQTT_TIMEOUT', maybeSent: true })
    t.equal(broker.connections.length, 2)
  })
}
