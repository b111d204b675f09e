import t from 'tap'
import { buildApp, connect, mosquittoSettings } from '../support/app.ts'
import { connectClient } from '../support/client.ts'
import { waitFor } from '../support/events.ts'

/* `absolute: true` puts nothing before what is given, and takes nothing off. */

for (const { name, skip, start } of mosquittoSettings()) {
  t.test(name, { skip }, async t => {
    const { options, broker } = await start(t)
    const { app } = await buildApp(t, { ...options, prefix: 'plant' })
    const seen: string[] = []
    app.mqtt.setNotFoundHandler(({ topic, absoluteTopic }) => { seen.push(`${topic} ${absoluteTopic}`) })
    await connect(app)
    const { client } = await connectClient(t, broker!.url, { protocolVersion: options.protocolVersion as 4 | 5 })

    t.strictSame(await app.mqtt.subscribe('other/+', { absolute: true, qos: 1 }), [{ filter: 'other/+', qos: 1 }])
    t.strictSame(await app.mqtt.subscribe('own/+', { qos: 1 }), [{ filter: 'plant/own/+', qos: 1 }])
    await client.publishAsync('other/1', '', { qos: 1 })
    await client.publishAsync('plant/own/1', '', { qos: 1 })
    await app.mqtt.publish('other/2', '', { absolute: true, qos: 1 })
    await app.mqtt.publish('own/2', '', { qos: 1 })
    await waitFor(() => seen.length === 4, 'four messages')
    t.strictSame(seen.sort(), ['other/1 other/1', 'other/2 other/2', 'own/1 plant/own/1', 'own/2 plant/own/2'])

    await app.mqtt.unsubscribe('other/+', { absolute: true })
    t.strictSame(app.mqtt.subscriptions.map(({ filter }) => filter), ['plant/own/+'])

    if (options.protocolVersion !== 5) return
    await client.subscribeAsync('elsewhere/ask', { qos: 1 })
    client.on('message', (topic, payload, { properties }) => {
      if (topic === 'elsewhere/ask') void client.publishAsync(properties!.responseTopic!, `answer to ${payload.toString()}`, { properties: { correlationData: properties!.correlationData! } })
    })
    const answer = await app.mqtt.request('elsewhere/ask', 'me', { absolute: true, qos: 1 })
    t.equal(answer.text(), 'answer to me')
    t.equal(answer.absoluteTopic, `plant/${answer.topic}`, 'the answer comes below the prefix')
  })
}

t.test('status() is plain JSON; when a message came', async t => {
  const { app } = await buildApp(t, { embedded: true })
  const before = Date.now()
  let at = 0
  app.mqtt.topic('a', ({ receivedAt }) => { at = receivedAt })
  await connect(app)
  await app.mqtt.publish('a', '', { qos: 1 })
  await waitFor(() => at > 0, 'the message')
  t.ok(at >= before && at <= Date.now())
  const status = app.mqtt.status()
  t.strictSame(JSON.parse(JSON.stringify(status)), status)
  t.ok(status.since >= before && status.since <= Date.now())
  t.strictSame(Object.keys(status).sort(), ['connected', 'counters', 'inbox', 'outbox', 'protocolVersion', 'since', 'state', 'subscriptions', 'workers'])
})
