import t, { type Test } from 'tap'
import type { FastifyInstance } from 'fastify'
import { buildApp } from '../support/app.ts'

/* A message without a broker. */

async function build (t: Test, declare: (app: FastifyInstance) => void, options = {}): Promise<FastifyInstance> {
  const { app } = await buildApp(t, { connect: false, prefix: 'plant', ...options })
  declare(app)
  return app
}

t.test('what matched, what each returned, and that it is acknowledged', async t => {
  const app = await build(t, app => {
    app.mqtt.topic('number/<int:n>', { name: 'number' }, message => message.params.n * 2)
    app.mqtt.topic('number/+', async message => message.wildcards)
    app.mqtt.topic('other', () => { throw new Error('not this one') })
  })
  t.strictSame(await app.mqtt.inject({ topic: 'number/21', qos: 1 }), {
    matched: ['number', 'number/+'], results: [42, ['21']], reply: undefined, error: undefined, acked: true, reasonCode: 0, published: []
  })
  t.strictSame(await app.mqtt.inject({ topic: 'nowhere' }), {
    matched: [], results: [], reply: undefined, error: undefined, acked: false, reasonCode: 0, published: []
  })
  t.match(app.mqtt.status().counters, { handled: 3, unmatched: 1, received: 0 })
})

t.test('the message is as one from a broker', async t => {
  let seen: unknown
  const app = await build(t, app => {
    app.mqtt.topic('a/<str:x>', ({ topic, absoluteTopic, params, payload, body, qos, retain, dup, properties }) => {
      seen = { topic, absoluteTopic, x: params.x, payload, body, qos, retain, dup, properties: { ...properties } }
    })
    app.mqtt.topic('plant/a/b', { absolute: true }, message => message.topic)
  })
  const { results } = await app.mqtt.inject({
    topic: 'plant/a/b', absolute: true, payload: { on: true }, qos: 2, retain: true, properties: { contentType: 'application/json', correlationData: Buffer.from('c') }
  })
  t.strictSame(results, [undefined, 'plant/a/b'])
  t.strictSame(seen, {
    topic: 'a/b',
    absoluteTopic: 'plant/a/b',
    x: 'b',
    payload: Buffer.from('{"on":true}'),
    body: { on: true },
    qos: 2,
    retain: true,
    dup: false,
    properties: { contentType: 'application/json', correlationData: Buffer.from('c') }
  })
})

t.test('what fails', async t => {
  const app = await build(t, app => {
    app.mqtt.topic('bad', () => { throw new Error('no') })
    app.mqtt.topic('bad', async () => 'well')
    app.mqtt.topic('body', { parse: 'json' }, message => message.body)
  })
  t.match(await app.mqtt.inject({ topic: 'bad', qos: 1 }), { results: [undefined, 'well'], error: { message: 'no' }, acked: true, reasonCode: 0x83 })
  t.match(await app.mqtt.inject({ topic: 'body', payload: '{' }), { error: { code: 'FST_MQTT_INVALID_BODY' }, acked: false, reasonCode: 0x99 })
})

t.test('what is published meanwhile is recorded, and nothing else', async t => {
  const app = await build(t, app => {
    app.mqtt.topic('work/<int:n>', async message => {
      await app.mqtt.publish(`done/${message.params.n}`, { ok: true }, { qos: 1, retain: true, properties: { contentType: 'x' } })
      await new Promise(resolve => { setImmediate(resolve) })
      const { reasonCode } = await app.mqtt.publish('$SYS/x', Buffer.from([1]), { absolute: true })
      await t.rejects(app.mqtt.publish('bad/#', ''), { code: 'FST_MQTT_TOPIC' })
      return reasonCode
    })
  })
  const [one, two] = await Promise.all([1, 2].map(n => app.mqtt.inject({ topic: `work/${n}` })))
  t.strictSame(await app.mqtt.publish('aside', ''), { reasonCode: 0 }, 'nobody is there, and nobody waits for anyone')
  for (const [i, result] of [one!, two!].entries()) {
    t.strictSame(result.results, [0])
    t.strictSame(result.published, [
      { topic: `done/${i + 1}`, absoluteTopic: `plant/done/${i + 1}`, payload: Buffer.from('{"ok":true}'), qos: 1, retain: true, properties: { contentType: 'x' } },
      { topic: '$SYS/x', absoluteTopic: '$SYS/x', payload: Buffer.from([1]), qos: 0, retain: false, properties: {} }
    ])
  }
  t.match(app.mqtt.status(), { state: 'idle', outbox: { messages: 0 }, counters: { published: 5, refused: 2 } })
})

t.test('of messages that wait for each other, each has its own', async t => {
  const app = await build(t, app => {
    app.mqtt.topic('a', async message => {
      await new Promise(resolve => { setImmediate(resolve) })
      await app.mqtt.publish(`out/${message.text()}`, '')
      return message.text()
    })
  })
  const results = await Promise.all(['1', '2', '3'].map(payload => app.mqtt.inject({ topic: 'a', payload, properties: { responseTopic: 'me' } })))
  t.strictSame(results.map(({ published }) => published.map(({ topic }) => topic)), [['out/1'], ['out/2'], ['out/3']])
  t.strictSame(results.map(({ reply }) => reply!.payload.toString()), ['1', '2', '3'])
})

t.test('a message that asks for a reply gets it', async t => {
  const app = await build(t, app => { app.mqtt.topic('sum/<int:a>/<int:b>', ({ params }) => ({ sum: params.a + params.b })) })
  const { reply, published } = await app.mqtt.inject({ topic: 'sum/2/3', properties: { responseTopic: 'me/answers', correlationData: Buffer.from('7') } })
  t.match(reply, { absoluteTopic: 'me/answers', payload: Buffer.from('{"sum":5}'), properties: { correlationData: Buffer.from('7') } })
  t.strictSame(published, [])
})

t.test('subscriptions count as granted, so nobody waits in vain', async t => {
  const app = await build(t, () => {})
  t.strictSame(await app.mqtt.subscribe('a/#', { qos: 1 }), [{ filter: 'plant/a/#', qos: 1 }])
  t.strictSame(await app.mqtt.topic('b').subscribed, { filter: 'plant/b', qos: 0 })
})

t.test('on a live application it is sent as well', async t => {
  const { app } = await buildApp(t, { embedded: true })
  let arrived!: (text: string) => void
  const arrival = new Promise<string>(resolve => { arrived = resolve })
  app.mqtt.topic('in', async () => { await app.mqtt.publish('out', 'here', { qos: 1 }) })
  const out = app.mqtt.topic('out', message => { arrived(message.text()) })
  await app.ready()
  await out.subscribed
  t.match(await app.mqtt.inject({ topic: 'in' }), { published: [{ topic: 'out', payload: Buffer.from('here') }] })
  t.equal(await arrival, 'here')
})

t.test('what cannot be a message', async t => {
  const app = await build(t, () => {})
  const bad: Array<[unknown, string]> = [
    [undefined, 'FST_MQTT_PROPERTY'], ['topic', 'FST_MQTT_PROPERTY'], [{}, 'FST_MQTT_TOPIC'], [{ topic: '', absolute: true }, 'FST_MQTT_TOPIC'],
    [{ topic: 'a/#' }, 'FST_MQTT_TOPIC'], [{ topic: 'a', qos: 3 }, 'FST_MQTT_PROPERTY'], [{ topic: 'a', qoss: 1 }, 'FST_MQTT_PROPERTY'],
    [{ topic: 'a', retain: 1 }, 'FST_MQTT_PROPERTY'], [{ topic: 'a', absolute: 'no' }, 'FST_MQTT_PROPERTY'], [{ topic: 'a', payload: () => {} }, 'FST_MQTT_PAYLOAD'], [{ topic: 'a', properties: { contentType: 1 } }, 'FST_MQTT_PROPERTY']
  ]
  for (const [message, code] of bad) await t.rejects(app.mqtt.inject(message as never), { code })
})

t.test('after the application has closed, or while a handler hangs when it does', async t => {
  const app = await build(t, app => { app.mqtt.topic('hang', () => new Promise(() => {})) }, { closeTimeout: 50 })
  const hanging = app.mqtt.inject({ topic: 'hang' })
  const refused = t.rejects(hanging, { code: 'FST_MQTT_CLOSED' })
  await app.ready()
  await app.close()
  await refused
  await t.rejects(app.mqtt.inject({ topic: 'hang' }))
})

t.test('the reply is told from what else goes to its topic', async t => {
  const app = await build(t, app => {
    app.mqtt.topic('work', async ({ properties }) => {
      await app.mqtt.publish(properties.responseTopic!, 'progress', { absolute: true })
      return 'done'
    })
  })
  for (const correlationData of [undefined, Buffer.from('7')]) {
    const { reply, published } = await app.mqtt.inject({ topic: 'work', properties: { responseTopic: 'me', ...(correlationData !== undefined && { correlationData }) } })
    t.equal(reply!.payload.toString(), 'done')
    t.strictSame(published.map(({ payload }) => payload.toString()), ['progress'])
  }
  t.equal((await app.mqtt.request('work')).text(), 'done')
})

t.test('a request is answered as its hooks have left it, and as it was when it was made', async t => {
  const app = await build(t, app => { app.mqtt.topic('ask/+', ({ topic, body }) => ({ topic, body })) })
  const given = { v: 1 }
  const asked = app.mqtt.request('ask/one', given)
  given.v = 2
  t.strictSame((await asked).json(), { topic: 'ask/one', body: { v: 1 } })
  app.mqtt.addHook('onPublish', packet => {
    if (!packet.topic.endsWith('ask/one')) return
    packet.topic = 'plant/ask/two'
    packet.payload = 'changed'
  })
  t.strictSame((await app.mqtt.request('ask/one', 'given')).json(), { topic: 'ask/two', body: 'changed' })
})

t.test('MQTT 3.1.1 has no requests, without a broker either', async t => {
  const app = await build(t, () => {}, { protocolVersion: 4 })
  await t.rejects(app.mqtt.request('ask'), { code: 'FST_MQTT_NEEDS_V5' })
})

t.test('what other messages publish meanwhile is not recorded', async t => {
  const { app } = await buildApp(t, { embedded: true })
  let going!: () => void
  const under = new Promise<void>(resolve => { going = resolve })
  const route = app.mqtt.topic('a', { qos: 1 }, async message => {
    if (message.text() === 'injected') {
      going()
      await app.mqtt.publish('nudge', '', { qos: 1 })
    }
    await app.mqtt.publish(`from/${message.text()}`, '')
  })
  app.mqtt.topic('a', async message => { if (message.text() === 'injected') await over })
  let end!: () => void
  const over = new Promise<void>(resolve => { end = resolve })
  let live!: () => void
  const handledLive = new Promise<void>(resolve => { live = resolve })
  app.mqtt.addHook('onPublished', ({ topic }) => { if (topic === 'from/live') live() })
  await app.ready()
  await route.subscribed
  const injected = app.mqtt.inject({ topic: 'a', payload: 'injected' })
  await under
  await app.mqtt.publish('a', 'live', { qos: 1 })
  await handledLive
  end()
  t.strictSame((await injected).published.map(({ topic }) => topic), ['nudge', 'from/injected'])
})
