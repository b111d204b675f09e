import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import t from 'tap'
import { defineTopic, type MqttError } from '../../lib/index.ts'
import { liveApp, scriptedApp } from '../faults/scripted-app.ts'
import { Gates } from '../faults/gates.ts'
import { buildApp, connect, live } from '../support/app.ts'
import { connectClient } from '../support/client.ts'
import { waitFor } from '../support/events.ts'
import { mosquittoMissing, startMosquitto } from '../support/mosquitto.ts'

const run = promisify(execFile)
const skip = mosquittoMissing()

t.test('on mosquitto', { skip }, t => {
  t.test('an answer is what the handler returned, of whatever kind', async t => {
    const broker = await startMosquitto(t)
    const { app } = await buildApp(t, { url: broker.url, prefix: 'plant' })
    const kinds: Record<string, unknown> = { object: { a: 1 }, text: 'hello', bytes: Buffer.from([1, 2, 3]), number: 42, yes: true, nothing: undefined, null: null }
    app.mqtt.topic('kinds/<name>', { qos: 1 }, ({ params }) => kinds[params.name])
    app.mqtt.topic('later/<int:n>', { qos: 1 }, async ({ params }) => {
      await new Promise(resolve => { setImmediate(resolve) })
      return params.n * 2
    })
    await connect(app)
    const answer = async (topic: string) => app.mqtt.request(topic)
    t.strictSame((await answer('kinds/object')).json(), { a: 1 })
    t.equal((await answer('kinds/text')).text(), 'hello')
    t.strictSame((await answer('kinds/bytes')).payload, Buffer.from([1, 2, 3]))
    t.equal((await answer('kinds/number')).body, 42)
    t.equal((await answer('kinds/yes')).body, true)
    t.equal((await answer('kinds/nothing')).payload.length, 0)
    t.equal((await answer('kinds/null')).payload.length, 0)
    const later = await answer('later/21')
    t.equal(later.body, 42)
    t.match(later.topic, /^reply\//)
    t.match(later.absoluteTopic, /^plant\/reply\//)
    t.equal(later.route, undefined)
    const twice = defineTopic('later/<int:n>')
    t.equal((await app.mqtt.request(twice, { n: 4 }, '', { qos: 1 })).body, 8)
    t.match(app.mqtt.status().counters, { unmatched: 0 })
  })

  t.test('a thousand at once over one response topic', async t => {
    const broker = await startMosquitto(t)
    const { app } = await buildApp(t, { url: broker.url })
    app.mqtt.topic('double/<int:n>', { qos: 1, order: 'none' }, async ({ params }) => {
      if (params.n % 3 === 0) await new Promise(resolve => { setTimeout(resolve, params.n % 7) })
      return params.n * 2
    })
    await connect(app)
    const answers = await Promise.all(Array.from({ length: 1_000 }, (_, n) => app.mqtt.request(`double/${n}`, '', { qos: 1 })))
    t.strictSame(answers.map(({ body }) => body), Array.from({ length: 1_000 }, (_, n) => n * 2))
    t.equal(app.mqtt.subscriptions.filter(({ filter }) => filter.startsWith('reply/')).length, 1)
  })

  t.test('one answer, although the broker sends a copy for each overlapping filter', async t => {
    const broker = await startMosquitto(t)
    const { app } = await buildApp(t, { url: broker.url })
    const ran: string[] = []
    app.mqtt.topic('job/#', () => { ran.push('first') })
    app.mqtt.topic('job/<int:n>', async () => { ran.push('second'); await new Promise(resolve => { setImmediate(resolve) }); return 'second' })
    app.mqtt.topic('+/<int:n>', () => { ran.push('third'); return 'third' })
    app.mqtt.topic('quiet/#', () => {})
    app.mqtt.topic('quiet/<name>', () => {})
    await connect(app)
    const { client } = await connectClient(t, broker.url, { protocolVersion: 5 })
    const got: string[] = []
    client.on('message', (_topic, payload) => { got.push(payload.toString()) })
    await client.subscribeAsync('answers', { qos: 1 })
    // Without correlation data, one behind the other: each gets its own.
    for (let i = 0; i < 3; i++) await client.publishAsync('job/1', '', { qos: 1, properties: { responseTopic: 'answers' } })
    await waitFor(() => got.length === 3, 'the answers')
    await client.publishAsync('quiet/x', '', { qos: 1, properties: { responseTopic: 'answers' } })
    await waitFor(() => got.length === 4, 'an empty answer')
    t.strictSame(got, ['second', 'second', 'second', ''])
    t.equal(ran.length, 9)
    await app.mqtt.publish('answers', 'end', { qos: 1 })
    await waitFor(() => got.includes('end'), 'the end')
    t.equal(got.length, 5)
  })

  t.test('a handler that fails: its code and message, and never its stack', async t => {
    const broker = await startMosquitto(t)
    const { app } = await buildApp(t, { url: broker.url })
    app.mqtt.setErrorHandler(() => {})
    app.mqtt.topic('fails/coded', () => { throw Object.assign(new Error('no such\u0000device\n\ud800'), { code: 'E_DEVICE' }) })
    app.mqtt.topic('fails/plain', async () => { throw new TypeError('x'.repeat(5_000)) })
    app.mqtt.topic('fails/text', async () => Promise.reject('text')) // eslint-disable-line prefer-promise-reject-errors
    app.mqtt.topic('fails/cycle', () => { const cycle: Record<string, unknown> = {}; cycle.self = cycle; return cycle })
    app.mqtt.topic('fails/late', { handlerTimeout: 10 }, () => new Promise(() => {}))
    await connect(app)
    const { client } = await connectClient(t, broker.url, { protocolVersion: 5 })
    const stacks: string[] = []
    client.on('message', (_topic, payload, packet) => { stacks.push(JSON.stringify(packet.properties) + payload.toString()) })
    await client.subscribeAsync('reply/#')
    const failure = async (topic: string): Promise<MqttError> => app.mqtt.request(topic).then(() => { throw new Error('answered') }, (error: MqttError) => error)
    t.match(await failure('fails/coded'), { code: 'FST_MQTT_REPLY_ERROR', message: /E_DEVICE: no such/, remote: { code: 'E_DEVICE', message: 'no such\ufffddevice\ufffd\ufffd' } })
    const plain = await failure('fails/plain')
    t.equal(plain.remote!.code, 'TypeError')
    t.equal(plain.remote!.message.length, 1_000)
    t.equal((await failure('fails/text')).code, 'FST_MQTT_REPLY_ERROR')
    t.equal((await failure('fails/cycle')).remote!.code, 'FST_MQTT_PAYLOAD')
    t.equal((await failure('fails/late')).remote!.code, 'FST_MQTT_HANDLER_TIMEOUT')
    await waitFor(() => stacks.length === 5, 'all answers')
    t.notMatch(stacks.join(), / at |\.js:/)
  })

  t.test('mosquitto_rr gets the answer, and a device of any make answers us', async t => {
    const broker = await startMosquitto(t)
    const { app } = await buildApp(t, { url: broker.url, prefix: 'p' })
    app.mqtt.topic('sum/<int:a>/<int:b>', ({ params }) => ({ sum: params.a + params.b }))
    await connect(app)
    const { stdout } = await run('mosquitto_rr', ['-h', '127.0.0.1', '-p', String(broker.port), '-V', '5', '-t', 'p/sum/2/3', '-e', 'any/answers', '-m', 'go', '-W', '5'])
    t.strictSame(JSON.parse(stdout), { sum: 5 })
    const { client } = await connectClient(t, broker.url, { protocolVersion: 5 })
    await client.subscribeAsync('p/device/state')
    client.on('message', (_topic, payload, { properties }) => {
      client.publish(properties!.responseTopic!, `state of ${payload.toString()}`, { properties: { correlationData: properties!.correlationData! } })
    })
    const answer = await app.mqtt.request('device/state', 'lamp')
    t.equal(answer.text(), 'state of lamp')
  })

  t.test('a broker that restarts while an answer is awaited', async t => {
    const broker = await startMosquitto(t)
    const { app } = await buildApp(t, { url: broker.url, reconnect: { min: 1, max: 20 } })
    const gates = new Gates()
    app.mqtt.topic('slow', { qos: 1 }, async () => { await gates.wait('slow'); return 'done' })
    await connect(app)
    const answer = app.mqtt.request('slow', '', { qos: 1, timeout: 15_000 })
    await gates.entered('slow')
    await broker.restart()
    await live(app)
    gates.open('slow')
    t.equal((await answer).text(), 'done')
  })

  t.test('offline a request waits; at 3.1.1 it is refused', async t => {
    const broker = await startMosquitto(t)
    await broker.stop()
    const { app } = await buildApp(t, { url: broker.url, reconnect: { min: 1, max: 20 } })
    app.mqtt.topic('ping', () => 'pong')
    await app.ready()
    const answer = app.mqtt.request('ping', '', { qos: 1, timeout: 15_000 })
    await broker.start()
    t.equal((await answer).text(), 'pong')

    const { app: old } = await buildApp(t, { url: broker.url, protocolVersion: 4 })
    const before = old.mqtt.request('ping')
    await old.ready()
    await t.rejects(before, { code: 'FST_MQTT_NEEDS_V5' })
    await live(old)
    await t.rejects(old.mqtt.request('ping'), { code: 'FST_MQTT_NEEDS_V5' })
    t.equal(old.mqtt.status().outbox.messages, 0)
  })
  t.end()
})

t.test('what goes out, and who is answered', async t => {
  const { app, broker } = await liveApp(t, {}, { clientId: 'a/b+c#', prefix: 'p' })
  const first = app.mqtt.request('ask', 'x', { qos: 1, timeout: 1_500, properties: { contentType: 'text/plain' } })
  const second = app.mqtt.request('ask', 'y', { timeout: 60_000 })
  const asked = await broker.last.until('publish', 2)
  const [subscribe] = broker.last.of('subscribe')
  t.equal(subscribe!.subscriptions[0]!.topic, 'p/reply/a-b-c-')
  t.ok(broker.last.received.indexOf(subscribe!) < broker.last.received.indexOf(asked[0]!), 'nothing is asked before answers can come')
  t.match(asked[0], { topic: 'p/ask', qos: 1, properties: { responseTopic: 'p/reply/a-b-c-', contentType: 'text/plain', messageExpiryInterval: 2 } })
  t.match(asked[1], { qos: 0, properties: { messageExpiryInterval: 60 } })
  const id = subscribe!.properties!.subscriptionIdentifier as unknown as number
  const answer = (n: number, payload: string, more: object = {}) => ({ topic: 'p/reply/a-b-c-', payload, properties: { correlationData: asked[n]!.properties!.correlationData!, subscriptionIdentifier: id, ...more } })
  broker.last.deliver(
    { ...answer(0, 'nobody'), properties: { subscriptionIdentifier: id } },
    { ...answer(0, 'foreign'), properties: { correlationData: Buffer.from('12345678'), subscriptionIdentifier: id } },
    { ...answer(0, 'short'), properties: { correlationData: Buffer.from('1'), subscriptionIdentifier: id } },
    answer(1, 'second'), answer(1, 'twice'), answer(0, 'first'))
  t.equal((await first).text(), 'first')
  t.equal((await second).text(), 'second')
  // One at QoS 1 is acknowledged.
  broker.last.deliver({ ...answer(0, 'late'), qos: 1, messageId: 7 })
  t.match(await broker.last.until('puback'), [{ messageId: 7 }])
  t.match(app.mqtt.status().counters, { unmatched: 0, received: 7 })
})

t.test('timeout, abort, bad options, a refused response topic, close', async t => {
  const { app, broker } = await liveApp(t, {
    onSubscribe: ({ subscriptions }) => subscriptions[0]!.topic.startsWith('denied/') ? { granted: [0x87] } : undefined,
    onPublish: ({ topic }) => topic === 'refused' ? { reasonCode: 0x87 } : undefined
  })
  await t.rejects(app.mqtt.request('a', '', { timeout: 20 }), { code: 'FST_MQTT_TIMEOUT', message: /20 ms/ })
  const abort = new AbortController()
  const running = app.mqtt.request('a', '', { signal: abort.signal })
  abort.abort(new Error('enough'))
  await t.rejects(running, { code: 'FST_MQTT_ABORTED', cause: { message: 'enough' } })
  await t.rejects(app.mqtt.request('a', '', { signal: AbortSignal.abort() }), { code: 'FST_MQTT_ABORTED' })
  await t.rejects(app.mqtt.request('a', '', { retain: true } as never), { code: 'FST_MQTT_PROPERTY' })
  await t.rejects(app.mqtt.request('a', '', { properties: { responseTopic: 'x' } as never }), { code: 'FST_MQTT_PROPERTY' })
  await t.rejects(app.mqtt.request('a/+', ''), { code: 'FST_MQTT_TOPIC', maybeSent: false })
  await t.rejects(app.mqtt.request('refused', '', { qos: 1 }), { code: 'FST_MQTT_PUBLISH_REFUSED' })
  t.equal(broker.connections.length, 1)
  const left = app.mqtt.request('a', '', { timeout: 0 })
  await broker.last.until('publish', 3)
  await app.close()
  await t.rejects(left, { code: 'FST_MQTT_CLOSED' })
  await t.rejects(app.mqtt.request('a'), { code: 'FST_MQTT_CLOSED' })

  const denied = await scriptedApp(t, { onSubscribe: () => ({ granted: [0x87] }) })
  const early = denied.app.mqtt.request('a')
  await denied.app.ready()
  await t.rejects(early, { code: 'FST_MQTT_SUBSCRIBE_REFUSED' })
  await t.rejects(denied.app.mqtt.request('a'), { code: 'FST_MQTT_SUBSCRIBE_REFUSED' })
})

t.test('handlers of a full inbox may ask, and a route that wants all sees the answers too', async t => {
  const seen: string[] = []
  const { broker } = await liveApp(t, {
    onPublish: ({ topic, properties }, connection) => {
      if (topic !== 'ask') return
      const ids = connection.of('subscribe').filter(({ subscriptions }) => ['#', properties!.responseTopic].includes(subscriptions[0]!.topic))
      // As brokers do that send one copy for all subscriptions.
      connection.deliver({ topic: properties!.responseTopic!, payload: 'answer', properties: { correlationData: properties!.correlationData!, subscriptionIdentifier: ids.map(each => each.properties!.subscriptionIdentifier as unknown as number) as never } })
    }
  }, { inbox: { maxMessages: 4 }, concurrency: 2 }, app => {
    app.mqtt.topic('in/<int:n>', { qos: 1 }, async () => { t.equal((await app.mqtt.request('ask')).text(), 'answer') })
    app.mqtt.topic('#', ({ topic }) => { seen.push(topic) })
  })
  const id = broker.last.of('subscribe').find(({ subscriptions }) => subscriptions[0]!.topic === 'in/+')!.properties!.subscriptionIdentifier as unknown as number
  broker.last.deliver(...Array.from({ length: 30 }, (_, n) => ({ topic: `in/${n}`, qos: 1 as const, messageId: n + 1, properties: { subscriptionIdentifier: id as never } })))
  await broker.last.until('puback', 30)
  t.ok(seen.some(topic => topic.startsWith('reply/')))
})
