import t from 'tap'
import { liveApp } from '../faults/scripted-app.ts'
import { buildApp } from '../support/app.ts'
import { connectClient } from '../support/client.ts'
import { waitFor } from '../support/events.ts'
import { mosquittoMissing, startMosquitto } from '../support/mosquitto.ts'

/* Request and handler: what holds when nothing is said, and what goes over the wire. */

t.test('5 seconds, which are told as the message\'s expiry; QoS 0; an expiry of one\'s own; 0 is never', async t => {
  const { app, broker } = await liveApp(t, {})
  const left = [app.mqtt.request('a'), app.mqtt.request('a', '', { timeout: 0 }), app.mqtt.request('a', '', { properties: { messageExpiryInterval: 77 } })]
  for (const one of left) one.catch(() => {})
  const asked = await broker.last.until('publish', 3)
  t.strictSame(asked.map(({ qos, retain, properties }) => [qos, retain, properties!.messageExpiryInterval]), [[0, false, 5], [0, false, undefined], [0, false, 77]])
  t.equal(new Set(asked.map(({ properties }) => properties!.responseTopic)).size, 1)
  t.equal(new Set(asked.map(({ properties }) => properties!.correlationData!.toString('hex'))).size, 3)
})

t.test('the answer of a handler that failed: empty, its code and message in user properties, no stack', { skip: mosquittoMissing() }, async t => {
  const broker = await startMosquitto(t)
  const { app } = await buildApp(t, { url: broker.url, protocolVersion: 5 })
  app.mqtt.setErrorHandler(() => {})
  app.mqtt.topic('fails', () => { throw Object.assign(new Error('out of stock'), { code: 'E_STOCK' }) })
  const { subscribed } = app.mqtt.topic('works', () => 'fine')
  await app.ready()
  await subscribed
  const { client } = await connectClient(t, broker.url, { protocolVersion: 5 })
  const answers: unknown[] = []
  client.on('message', (topic, payload, { properties }) => {
    answers.push([topic, payload.toString(), properties?.correlationData?.toString(), { ...properties?.userProperties }])
  })
  await client.subscribeAsync('me')
  for (const topic of ['fails', 'works']) await client.publishAsync(topic, '', { qos: 1, properties: { responseTopic: 'me', correlationData: Buffer.from(topic) } })
  await waitFor(() => answers.length === 2, 'both answers')
  t.strictSame(answers, [['me', '', 'fails', { 'error-code': 'E_STOCK', 'error-message': 'out of stock' }], ['me', 'fine', 'works', {}]])
})

t.test('exactly one answer: the first route\'s that is not undefined, in order of registration, else an empty one', async t => {
  const { app } = await buildApp(t, { connect: false })
  app.mqtt.setErrorHandler(() => {})
  let values: unknown[] = []
  for (const i of [0, 1, 2]) {
    app.mqtt.topic(i === 1 ? 'a' : '+', async () => {
      // The first takes longest.
      for (let turns = 3 - i; turns > 0; turns--) await new Promise(resolve => { setImmediate(resolve) })
      if (values[i] instanceof Error) throw values[i]
      return values[i]
    })
  }
  const cases: Array<[values: unknown[], answer: string, failed?: boolean]> = [
    [['one', 'two', 'three'], 'one'], [[undefined, 'two', 'three'], 'two'], [[null, 'two', 'three'], ''], [[undefined, undefined, 0], '0'], [[undefined, undefined, undefined], ''],
    [[new Error('no'), undefined, 'three'], 'three'], [[new Error('no'), undefined, undefined], '', true], [['', 'two', 'three'], ''], [[false, 'two', 'three'], 'false']
  ]
  for (const [given, answer, failed = false] of cases) {
    values = given
    const { reply, published } = await app.mqtt.inject({ topic: 'a', properties: { responseTopic: 'me' } })
    t.equal(reply!.payload.toString(), answer)
    t.equal(reply!.properties.userProperties?.['error-code'] !== undefined, failed)
    t.strictSame(published, [])
  }
  t.equal((await app.mqtt.inject({ topic: 'a' })).reply, undefined, 'nobody has asked')
})
