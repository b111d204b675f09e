import t, { type Test } from 'tap'
import { MessageChannel } from 'node:worker_threads'
import type { MqttError, PublishOptions } from '../../lib/index.ts'
import { WorkerClient } from '../../workers/client.ts'
import { buildApp } from '../support/app.ts'
import { withinTime } from '../support/events.ts'
import { Station } from './station.ts'

/* A signal that the caller's own code aborts while `publish` runs it: by then it is too late to hear of it. */

type Publish = (topic: string, payload: unknown, options: PublishOptions) => Promise<unknown>

/** Nobody answers on any of these, so that what misses the signal stays open. */
const SIDES: Record<string, (t: Test) => Promise<Publish>> = {
  'on the main thread': async t => {
    const { app } = await buildApp(t, { url: 'mqtt://127.0.0.1:1', closeTimeout: 50 })
    await app.ready()
    return (...args) => app.mqtt.publish(...args)
  },
  'on the main thread, with a hook': async t => {
    const { app } = await buildApp(t, { url: 'mqtt://127.0.0.1:1', closeTimeout: 50 })
    app.mqtt.addHook('onPublish', async () => {})
    await app.ready()
    return (...args) => app.mqtt.publish(...args)
  },
  'in a worker': async t => {
    const station = new Station({ offline: true })
    const { port1, port2 } = new MessageChannel()
    t.teardown(() => { port1.close() })
    t.teardown(() => station.close())
    const client = new WorkerClient(port1)
    station.bridge.accept(port2, 1)
    await client.ready()
    return (...args) => client.publish(...args)
  }
}

async function failure (promise: Promise<unknown>): Promise<MqttError> {
  return await withinTime(promise.then(() => { throw new Error('it did not fail') }, error => error as MqttError), 'a rejection')
}

const ABORTED = { code: 'FST_MQTT_ABORTED', maybeSent: false, cause: { message: 'why' } }

for (const [name, open] of Object.entries(SIDES)) {
  t.test(name, async t => {
    const publish = await open(t)
    for (const qos of [0, 1] as const) {
      const inPayload = new AbortController()
      const payload = { toJSON: () => { inPayload.abort(new Error('why')); return 1 } }
      t.match(await failure(publish('a', payload, { qos, signal: inPayload.signal })), ABORTED, 'by a toJSON')
      const inProperties = new AbortController()
      const properties = { get contentType () { inProperties.abort(new Error('why')); return 'text/plain' } }
      t.match(await failure(publish('a', 'x', { qos, signal: inProperties.signal, properties })), ABORTED, 'by a getter')
      t.match(await failure(publish('a', 'x', { qos, signal: AbortSignal.abort(new Error('why')) })), ABORTED, 'before')
    }
  })
}

t.test('by a hook, whether it waits for anything or not', async t => {
  const { app } = await buildApp(t, { url: 'mqtt://127.0.0.1:1', closeTimeout: 50 })
  let abort = new AbortController()
  app.mqtt.addHook('onPublish', packet => {
    abort.abort(new Error('why'))
    return packet.topic === 'waits' ? Promise.resolve() : undefined
  })
  await app.ready()
  for (const topic of ['waits', 'does/not']) {
    abort = new AbortController()
    t.match(await failure(app.mqtt.publish(topic, 'x', { qos: 1, signal: abort.signal })), ABORTED, topic)
  }
  t.equal(app.mqtt.status().outbox.messages, 0)
})
