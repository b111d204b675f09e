import type { FastifyInstance } from 'fastify'
import t, { type Test } from 'tap'
import { SubscriptionIds } from '../../lib/connection/subscription-ids.ts'
import { outcome, scriptedApp } from '../faults/scripted-app.ts'
import type { Delivered } from '../faults/scripted-broker.ts'
import { buildApp, connect } from '../support/app.ts'
import { connectClient } from '../support/client.ts'
import { waitFor } from '../support/events.ts'
import { mosquittoMissing, startMosquitto } from '../support/mosquitto.ts'

/*
 * MQTT 5, a kept session and a new process: what the session has queued for the filters of the process before comes behind CONNACK, before
 * this one has an answer to any SUBSCRIBE. A copy for each of several filters is one message all the same.
 */

const kept = { protocolVersion: 5, clientId: 'kept', session: { clean: false, expiry: 60 } } as const

/** Answers requests by two routes, and has subscriptions of its own to overlapping filters; `seen` is what reached the not-found handler. */
function declare ({ mqtt }: FastifyInstance, seen: string[]): void {
  mqtt.setNotFoundHandler(({ topic }) => { seen.push(topic) })
  mqtt.topic('ask/+', { qos: 1 }, () => 'the first')
  mqtt.topic('ask/#', { qos: 1 }, () => 'the second')
  mqtt.subscribe(['news/#', 'news/+', '#'], { qos: 1 }).catch(() => {})
}

/** Delivers a copy for each filter behind CONNACK, answers no SUBSCRIBE, and gives what is published until all has been handled. */
async function inherit (t: Test, message: Delivered, ...filters: string[]): Promise<{ seen: string[], answers: string[] }> {
  const ids = new SubscriptionIds()
  const { app, broker } = await scriptedApp(t, {
    onConnect: (_packet, connection) => {
      connection.send({ cmd: 'connack', sessionPresent: true, reasonCode: 0 })
      connection.deliver(...filters.map((filter, i) => ({
        ...message, qos: 1 as const, messageId: i + 1, properties: { ...message.properties, subscriptionIdentifier: ids.allocate(filter) as never }
      })))
      return false
    },
    onSubscribe: () => false
  }, kept)
  const seen: string[] = []
  declare(app, seen)
  await app.ready()
  await broker.connection(0)
  await broker.last.until('puback', filters.length)
  void outcome(app.mqtt.publish('end', 'end', { qos: 1 }))
  await waitFor(() => broker.last.published.includes('end'), 'what lies behind the answers')
  return { seen, answers: broker.last.published.slice(0, -1) }
}

t.test('a request is answered once, by the first route', async t => {
  const properties = { responseTopic: 'me' }
  t.strictSame((await inherit(t, { topic: 'ask/7', properties }, 'ask/+', 'ask/#')).answers, ['the first'])
  t.strictSame((await inherit(t, { topic: 'ask/7', properties }, 'ask/#', 'ask/+')).answers, ['the first'])
})

t.test('what no route matches reaches the not-found handler once', async t => {
  t.strictSame((await inherit(t, { topic: 'news/1' }, 'news/#', 'news/+', '#')).seen, ['news/1'])
  t.strictSame((await inherit(t, { topic: 'news/1' }, '#', 'news/+', 'news/#')).seen, ['news/1'])
})

t.test('so it is on mosquitto', { skip: mosquittoMissing() }, async t => {
  const broker = await startMosquitto(t)
  const start = async (seen: string[]): Promise<FastifyInstance> => {
    const { app } = await buildApp(t, { url: broker.url, ...kept })
    declare(app, seen)
    await connect(app)
    return app
  }
  await (await start([])).close()
  const peer = await connectClient(t, broker.url, { protocolVersion: 5 })
  const answers = await peer.messages('me')
  await peer.client.publishAsync('ask/7', '', { qos: 1, properties: { responseTopic: 'me' } })
  await peer.client.publishAsync('news/1', '', { qos: 1 })
  const seen: string[] = []
  const app = await start(seen)
  await waitFor(() => seen.length > 0 && answers.all.length > 0 && app.mqtt.status().inbox.messages === 0, 'what was queued')
  await app.mqtt.publish('me', 'end', { qos: 1 })
  await waitFor(() => answers.all.at(-1)!.text === 'end', 'what lies behind the answers')
  t.strictSame(answers.all.map(({ text }) => text), ['the first', 'end'])
  t.strictSame(seen.filter(topic => topic === 'news/1'), ['news/1'])
})
