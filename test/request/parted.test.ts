import t from 'tap'
import { liveApp, scriptedApp } from '../faults/scripted-app.ts'
import { buildApp, connect } from '../support/app.ts'
import { mosquittoMissing, startMosquitto } from '../support/mosquitto.ts'
import { waitFor } from '../support/events.ts'

/*
 * MQTT 5: a broker may send a copy for each subscription, and the answer is the first route's, so it waits for the copies of all.
 * What it need not wait for is a copy that never comes.
 */

/** Well below the second that copies may lie apart. */
const SOON = { within: 500 }

t.test('a route whose subscription the broker has refused', async t => {
  const { app, broker } = await scriptedApp(t, { onSubscribe: ({ subscriptions }) => subscriptions[0]!.topic === '#' ? { granted: [0x87] } : undefined })
  app.mqtt.topic('#', () => {})
  app.mqtt.topic('ask/<int:n>', ({ params }) => params.n)
  await app.ready()
  await waitFor(() => app.mqtt.connected && app.mqtt.subscriptions.every(({ status }) => status !== 'pending'), 'the answers')
  const { subscriptionIdentifier } = broker.last.of('subscribe').find(({ subscriptions }) => subscriptions[0]!.topic === 'ask/+')!.properties!
  broker.last.deliver({ topic: 'ask/7', properties: { responseTopic: 'me', subscriptionIdentifier: subscriptionIdentifier as never } })
  t.match(await broker.last.until('publish', 1, SOON), [{ topic: 'me', payload: Buffer.from('7') }])
})

t.test('a route whose subscription the broker has not answered yet', async t => {
  const { app, broker } = await liveApp(t, { onSubscribe: ({ subscriptions }) => subscriptions[0]!.topic === 'ask/#' ? false : undefined }, {}, app => {
    app.mqtt.topic('other', () => {})
  })
  const pending = app.mqtt.topic('ask/#', () => {})
  const { subscribed } = app.mqtt.topic('ask/<int:n>', ({ params }) => params.n)
  pending.subscribed.catch(() => {})
  await subscribed
  const { subscriptionIdentifier } = broker.last.of('subscribe').find(({ subscriptions }) => subscriptions[0]!.topic === 'ask/+')!.properties!
  broker.last.deliver({ topic: 'ask/7', properties: { responseTopic: 'me', subscriptionIdentifier: subscriptionIdentifier as never } })
  t.match(await broker.last.until('publish', 1, SOON), [{ topic: 'me', payload: Buffer.from('7') }])
})

t.test('a route with noLocal, and a request of the application\'s own', { skip: mosquittoMissing() }, async t => {
  const broker = await startMosquitto(t)
  const { app } = await buildApp(t, { url: broker.url, protocolVersion: 5 })
  app.mqtt.topic('#', { noLocal: true }, () => {})
  app.mqtt.topic('ask/<int:n>', ({ params }) => params.n)
  await connect(app)
  t.equal((await app.mqtt.request('ask/7', '', { timeout: SOON.within })).text(), '7')
})
