import t, { type Test } from 'tap'
import type { MqttPluginOptions } from '../../lib/index.ts'
import { scriptedApp, type Scripted } from '../faults/scripted-app.ts'
import type { Script } from '../faults/scripted-broker.ts'
import { waitFor } from '../support/events.ts'

/*
 * Where messages do not tell their subscription, a filter that the broker refuses covers nothing. This one refuses `a/#` at QoS 0 only: when
 * that is wanted with a higher QoS, it may cover again.
 */

/** What is refused is not asked for again by itself. */
const options: MqttPluginOptions = { reconnect: { min: 1, max: 600_000 } }

interface Setting {
  name: string
  protocolVersion: 4 | 5
  refusal: number
  script: Script
}

const settings: Setting[] = [
  { name: 'MQTT 3.1.1', protocolVersion: 4, refusal: 0x80, script: {} },
  {
    name: 'MQTT 5 without subscription identifiers',
    protocolVersion: 5,
    refusal: 0x87,
    script: { onConnect: () => ({ properties: { subscriptionIdentifiersAvailable: false } }) }
  }
]

/** A route on `a/#` is refused. At QoS 1 it is granted, with `late` only by `grant`. */
async function refused (t: Test, { protocolVersion, refusal, script }: Setting, late = false): Promise<Scripted & { grant: () => void }> {
  const scripted = await scriptedApp(t, {
    ...script,
    onSubscribe: ({ subscriptions }) => {
      const { topic, qos } = subscriptions[0]!
      if (topic !== 'a/#') return undefined
      if (qos === 0) return { granted: [refusal] }
      return late ? false : undefined
    }
  }, { ...options, protocolVersion })
  const { app, broker } = scripted
  const { subscribed } = app.mqtt.topic('a/#', () => {})
  await app.ready()
  await t.rejects(subscribed, { code: 'FST_MQTT_SUBSCRIBE_REFUSED' })
  const grant = (): void => broker.last.send({ cmd: 'suback', messageId: broker.last.of('subscribe').at(-1)!.messageId!, granted: [1] })
  return { ...scripted, grant }
}

for (const setting of settings) {
  t.test(`${setting.name}: the refusal of another QoS is no answer`, async t => {
    const { app, broker, grant } = await refused(t, setting, true)
    const { subscribed } = app.mqtt.topic('a/#', { qos: 1 }, () => {})
    t.strictSame(app.mqtt.subscriptions, [{ filter: 'a/#', qos: 1, status: 'pending' }])
    await broker.last.until('subscribe', 2)
    grant()
    t.match(await subscribed, { qos: 1 })
  })

  t.test(`${setting.name}: what came by itself is taken back once it is covered`, async t => {
    const { app, broker } = await refused(t, setting)
    await app.mqtt.topic('a/b', () => {}).subscribed
    app.mqtt.topic('a/#', { qos: 1 }, () => {})
    t.match(await broker.last.until('unsubscribe'), [{ unsubscriptions: ['a/b'] }])
    await waitFor(() => app.mqtt.subscriptions.every(({ status, granted }) => status === 'active' && granted === 1), 'both at QoS 1')
  })
}

// Last, since a process that is busy with microtasks for ever cannot even end a test that takes too long.
for (const setting of settings) {
  t.test(`${setting.name}: what comes before the answer waits for it`, async t => {
    const { app, broker, grant } = await refused(t, setting, true)
    const wide = app.mqtt.topic('a/#', { qos: 1 }, () => {})
    await broker.last.until('subscribe', 2)
    const narrow = app.mqtt.topic('a/c', () => {})
    await new Promise(resolve => { setImmediate(resolve) })
    grant()
    t.match(await Promise.all([wide.subscribed, narrow.subscribed]), [{ filter: 'a/#', qos: 1 }, { filter: 'a/c', qos: 1 }])
    t.equal(broker.last.of('subscribe').length, 2)
  })
}
