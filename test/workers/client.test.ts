import t, { type Test } from 'tap'
import { MessageChannel } from 'node:worker_threads'
import type { MqttError } from '../../lib/errors.ts'
import type { Message, PublishOptions, PublishProperties } from '../../lib/types/index.ts'
import { WorkerClient } from '../../workers/client.ts'
import { Station, type StationOptions } from '../bridge/station.ts'
import { waitFor, withinTime } from '../support/events.ts'

/** A client and the station it talks to, in one thread. */
function connect (t: Test, options: StationOptions = {}) {
  const station = new Station(options)
  const { port1, port2 } = new MessageChannel()
  const client = new WorkerClient(port1)
  t.teardown(async () => {
    await station.close()
    // A message of the test's own end would keep the thread alive.
    await waitFor(() => client.over !== undefined, 'the end')
  })
  return { station, client, accept: () => station.bridge.accept(port2, 1) }
}

async function failure (promise: Promise<unknown>): Promise<MqttError> {
  return withinTime(promise.then(() => { throw new Error('it did not fail') }, error => error as MqttError), 'a rejection')
}

t.test('publishes before and after anybody has answered', async t => {
  const { client, station, accept } = connect(t, { prefix: 'pre' })
  const early = [
    client.publish('a', 'zero'),
    client.publish('b', 'one', { qos: 1, retain: true }),
    client.publish('$SYS/c', 'two', { qos: 2, absolute: true, properties: { contentType: 'text/plain' } })
  ]
  t.equal(client.connected, false)
  accept()
  t.same(await Promise.all(early), [{ reasonCode: 0 }, { reasonCode: 0 }, { reasonCode: 0 }])
  t.equal(client.connected, true)
  t.equal(client.prefix, 'pre')
  await Promise.all([client.publish('d', { n: 1 }), client.publish('e', 'abs', { absolute: true, qos: 1 })])
  await station.link.until(5)
  t.match(station.received, [
    { topic: 'pre/a', payload: 'zero', qos: 0, retain: false },
    { topic: 'pre/b', payload: 'one', qos: 1, retain: true },
    { topic: '$SYS/c', payload: 'two', qos: 2, properties: { contentType: 'text/plain' } },
    { topic: 'pre/d', payload: '{"n":1}', qos: 0 },
    { topic: 'e', payload: 'abs', qos: 1 }
  ])
})

t.test('reason codes and refusals come back as results and coded errors', async t => {
  const { client, station, accept } = connect(t)
  accept()
  station.link.reasons.set('nobody', 16).set('denied', 0x87)
  t.same(await client.publish('nobody', 'x', { qos: 1 }), { reasonCode: 16 })
  const error = await failure(client.publish('denied', 'x', { qos: 1 }))
  t.match(error, { code: 'FST_MQTT_PUBLISH_REFUSED', statusCode: 502, reasonCode: 0x87, maybeSent: true, message: /0x87 Not authorized/ })
  t.ok(error instanceof Error)
})

t.test('bad input is refused for its caller alone, before anything is sent', async t => {
  const { client, station, accept } = connect(t)
  accept()
  await client.ready()
  const detached = new Uint8Array(8)
  structuredClone(detached, { transfer: [detached.buffer] })
  const cycle: { self?: unknown } = {}
  cycle.self = cycle
  const bad: Array<[string, unknown, unknown, PublishOptions?]> = [
    ['FST_MQTT_TOPIC', 'a/+/b', 'x'],
    ['FST_MQTT_TOPIC', 'a/#', 'x'],
    ['FST_MQTT_TOPIC', '', 'x'],
    ['FST_MQTT_TOPIC', 'nul\0', 'x'],
    ['FST_MQTT_TOPIC', '\ud800', 'x'],
    ['FST_MQTT_TOPIC', 'l'.repeat(65_536), 'x'],
    ['FST_MQTT_TOPIC', undefined, 'x'],
    ['FST_MQTT_PAYLOAD', 'a', () => {}],
    ['FST_MQTT_PAYLOAD', 'a', Symbol('s')],
    ['FST_MQTT_PAYLOAD', 'a', cycle],
    ['FST_MQTT_PAYLOAD', 'a', detached],
    ['FST_MQTT_PAYLOAD', 'a', Promise.resolve('x')],
    ['FST_MQTT_PROPERTY', 'a', 'x', { qos: 3 } as never],
    ['FST_MQTT_PROPERTY', 'a', 'x', { unknown: 1 } as never],
    ['FST_MQTT_PROPERTY', 'a', 'x', null as never],
    ['FST_MQTT_PROPERTY', 'a', 'x', { timeout: -1 }],
    ['FST_MQTT_PROPERTY', 'a', 'x', { properties: { topicAlias: 1 } as never }],
    ['FST_MQTT_PROPERTY', 'a', 'x', { properties: { messageExpiryInterval: -1 } }]
  ]
  const bystanders: Array<Promise<unknown>> = []
  for (const [code, topic, payload, options] of bad) {
    const publish = client.publish(topic as string, payload, options)
    bystanders.push(client.publish('bystander', 'fine', { qos: 1 }))
    t.match(await failure(publish), { code, maybeSent: false }, `${code} ${String(topic).slice(0, 20)}`)
  }
  await Promise.all(bystanders)
  t.equal(station.received.length, bad.length)
  t.ok(station.received.every(({ topic, payload }) => topic === 'bystander' && payload === 'fine'))
})

t.test('P24: of a request and its answer nothing but their own bytes cross', async t => {
  let asked: Uint8Array | undefined
  const { client, accept } = connect(t, {
    request: async (_source, _topic, payload) => {
      asked = payload as Uint8Array
      return { topic: 'reply/x', absoluteTopic: 'reply/x', payload: Buffer.from('tiny'), qos: 0, retain: false, dup: false, properties: { correlationData: Buffer.from('12345678') } } as Message
    }
  })
  accept()
  const reply = await client.request('ask', Buffer.from('tiny'))
  t.equal(asked!.buffer.byteLength, 4, 'the request')
  t.equal(reply.payload.buffer.byteLength, 4, 'the answer')
  t.equal(reply.properties.correlationData!.buffer.byteLength, 8, 'its correlation data')
})

t.test('a view that lies about its length hurts nobody', async t => {
  class Odd extends Uint8Array {
    override get length (): number { return claimed }
  }
  let claimed = 10
  for (claimed of [-5, -1, 0.5, 3, 100, NaN]) {
    const { client, station, accept } = connect(t)
    accept()
    await client.ready()
    const odd = client.publish('odd', new Odd(10), { qos: 1 }).catch((error: MqttError) => error.code)
    await client.publish('bystander', 'x', { qos: 1 })
    await odd
    t.same(station.logged, [], String(claimed))
    t.match(station.received.filter(({ topic }) => topic === 'bystander'), [{ payload: 'x' }])
  }
})

t.test('nor does it switch the limit off', async t => {
  class Odd extends Uint8Array {
    override get length (): number { return claimed }
  }
  let claimed = 10
  for (claimed of [-1_000_000, NaN]) {
    let end!: (error: Error) => void
    const { client, accept } = connect(t, { maxBytes: 10_000, request: () => new Promise((_resolve, reject) => { end = reject }) })
    accept()
    await client.ready()
    const odd = client.request('odd', new Odd(10))
    const all = Array.from({ length: 20 }, () => client.publish('bystander', Buffer.alloc(1_000), { qos: 1 }).then(() => 'ok', (error: MqttError) => error.message))
    // The main thread has a limit, too, and says it in other words.
    t.ok((await Promise.all(all)).some(outcome => outcome.startsWith('This worker has')), String(claimed))
    end(new Error('no answer'))
    await t.rejects(odd)
  }
})

t.test('the caller\'s memory is copied at once and never detached', async t => {
  const { client, station, accept } = connect(t)
  accept()
  await client.ready()
  const small = Buffer.from('small')
  const large = new Uint8Array(100_000).fill(97)
  const pending = [client.publish('small', small, { qos: 1 }), client.publish('large', large, { qos: 1 })]
  small.fill(0)
  large.fill(0)
  await Promise.all(pending)
  t.equal(small.length, 5)
  t.equal(large.length, 100_000)
  t.equal(station.received[0]?.payload, 'small')
  t.equal(station.received[1]?.payload, 'a'.repeat(100_000))
})

t.test('what a toJSON publishes meanwhile neither mixes with the frame around it nor with its prefix', async t => {
  const { client, station, accept } = connect(t, { prefix: 'p' })
  const payload = { toJSON: () => { accept(); void client.publish('inner', 'i', { qos: 1 }); return 'outer' } }
  await client.publish('outer', payload, { qos: 1 })
  t.same(station.received.map(({ topic, payload }) => [topic, payload]), [['p/inner', 'i'], ['p/outer', '"outer"']])
})

t.test('QoS 0 resolves on hand-over within the window, and beyond it when there is room', async t => {
  const { client, station, accept } = connect(t, { window: 1000 })
  accept()
  await client.ready()
  station.link.answers = false
  await client.publish('a', Buffer.alloc(600))
  let over = false
  const beyond = client.publish('a', Buffer.alloc(600)).then(() => { over = true })
  await station.link.until(2)
  t.equal(over, false, 'nothing is held back, but it waits')
  station.link.release()
  await beyond
  t.same(await client.publish('a', Buffer.alloc(600)), { reasonCode: 0 })
})

t.test('more than maxBytes unconfirmed is refused in the worker', async t => {
  const { client, station, accept } = connect(t, { maxBytes: 2000 })
  accept()
  await client.ready()
  station.link.answers = false
  const first = client.publish('a', Buffer.alloc(1500), { qos: 1 })
  t.match(await failure(client.publish('a', Buffer.alloc(1500), { qos: 1 })), { code: 'FST_MQTT_OUTBOX_FULL', maybeSent: false })
  station.link.release()
  await first
  await client.publish('a', Buffer.alloc(1500), { qos: 1 })
  t.equal(station.received.length, 2)
})

t.test('a full outbox refuses what does not fit, and takes what does', async t => {
  const { client, station, accept } = connect(t, { limits: { maxMessages: 10 }, offline: true, window: 0 })
  accept()
  await client.ready()
  const all = Promise.allSettled(Array.from({ length: 30 }, (_, i) => client.publish(`t/${i}`, 'x')))
  await waitFor(() => station.outbox.counters.refused === 23, 'refusals')
  station.connect()
  const results = await all
  t.ok(results.slice(0, 7).every(({ status }) => status === 'fulfilled'), 'as long as it has not twice as much as is left')
  for (const result of results.slice(7)) {
    t.match(result, { status: 'rejected', reason: { code: 'FST_MQTT_OUTBOX_FULL', maybeSent: false, message: /for others/ } })
  }
  t.equal(station.received.length, 7)
  t.equal(station.outbox.bytes, 0)
  t.equal(station.outbox.messages, 0)
})

for (const what of ['messages', 'bytes'] as const) {
  t.test(`one worker cannot take all the room: ${what}`, async t => {
    const limits = what === 'messages' ? { maxMessages: 1000 } : { maxBytes: 1_000_000 }
    const size = what === 'messages' ? 1 : 1_000
    const station = new Station({ limits, offline: true, window: 0 })
    t.teardown(() => station.close())
    const held: number[] = []
    for (let i = 0; i < 4; i++) {
      const { port1, port2 } = new MessageChannel()
      t.teardown(() => port1.close())
      const client = new WorkerClient(port1)
      station.bridge.accept(port2, i)
      const before = station.outbox.messages
      const refused = station.outbox.counters.refused
      for (let n = 0; n < 2_000; n++) client.publish('t', Buffer.alloc(size), { qos: 1 }).catch(() => {})
      await waitFor(() => station.outbox.messages + station.outbox.counters.refused - before - refused === 2_000, 'all to be judged')
      held.push(station.outbox.messages - before)
    }
    t.comment(held.join(', '))
    t.ok(held.every(count => count > 10), 'each has some')
    t.ok(station.outbox.messages > 900, 'and most of the room is used')
    const main = station.outbox.createSource('main')
    const free = what === 'messages' ? 1000 - station.outbox.messages : 1
    t.equal(station.outbox.refusal(main, 1, free, 1), undefined, 'the application may have all of the rest')
  })
}

t.test('tiny publishes that nobody awaits fill no memory: what waits for its answer counts more than its bytes', async t => {
  const { client, accept } = connect(t, { maxBytes: 100_000, offline: true })
  accept()
  await client.ready()
  let refused = 0
  for (let n = 0; n < 1_000; n++) client.publish('t', 'x', { qos: 1 }).catch(({ code }: MqttError) => { if (code === 'FST_MQTT_OUTBOX_FULL') refused++ })
  await waitFor(() => refused > 0, 'refusals')
  t.comment(`${1_000 - refused} taken`)
  t.ok(1_000 - refused < 200)
  t.equal(await client.publish('t', 'x').then(() => 'taken', ({ code }: MqttError) => code), 'FST_MQTT_OUTBOX_FULL')
})

t.test('requests count until they are answered, and as publishes do', async t => {
  const reply = { topic: 'r', absoluteTopic: 'r', payload: Buffer.from('answer'), qos: 0, retain: false, dup: false, properties: {} } as unknown as Message
  const answers: Array<() => void> = []
  const { client, accept } = connect(t, { maxBytes: 10_000, request: () => new Promise(resolve => { answers.push(() => resolve(reply)) }) })
  accept()
  await client.ready()
  const refused: MqttError[] = []
  const asked = Array.from({ length: 20 }, () => client.request('ask', Buffer.alloc(1_000)).catch((error: MqttError) => { refused.push(error) }))
  await waitFor(() => answers.length + refused.length === 20, 'all to be judged')
  t.equal(answers.length, 4, 'a request takes more memory than its payload')
  t.ok(refused.every(({ code, maybeSent }) => code === 'FST_MQTT_OUTBOX_FULL' && !maybeSent))
  t.match(await failure(client.publish('a', Buffer.alloc(2_000))), { code: 'FST_MQTT_OUTBOX_FULL', maybeSent: false })
  for (const answer of answers.splice(0)) answer()
  await Promise.all(asked)
  const publish = client.publish('a', Buffer.alloc(8_000), { qos: 1 })
  t.match(await failure(client.request('ask', Buffer.alloc(1_000))), { code: 'FST_MQTT_OUTBOX_FULL', maybeSent: false })
  await publish
  const again = client.request('ask', Buffer.alloc(1_000))
  await waitFor(() => answers.length === 1, 'the request')
  answers[0]!()
  t.equal((await again).text(), 'answer')
})

t.test('a thread that does not come back to its event loop finds room again where there is some', async t => {
  const { port1, port2 } = new MessageChannel()
  const client = new WorkerClient(port1)
  t.teardown(() => port2.close())
  port2.postMessage({ type: 'hello', protocol: 1, prefix: '', version: 5, maxBytes: 3_000, window: 0, routes: [] })
  await client.ready()
  const error = { code: 'FST_MQTT_TIMEOUT', message: 'nobody', maybeSent: true }
  const codes: string[] = []
  const note = ({ code }: MqttError): void => { codes.push(code) }
  const all: Array<Promise<unknown>> = []
  for (let id = 0; id < 3; id++) {
    all.push(client.request('ask', Buffer.alloc(1_500)).catch(note))
    port2.postMessage({ type: 'unanswered', id, error })
  }
  await withinTime(Promise.all(all), 'the answers')
  t.same(codes, Array(3).fill('FST_MQTT_TIMEOUT'))
})

t.test('workers.topics binds QoS 0, too', async t => {
  const topics = ['p/ok/#', 'elsewhere']
  const { client, station, accept } = connect(t, { prefix: 'p', topics, permits: topic => topic.startsWith('p/ok/') || topic === 'elsewhere' })
  accept()
  await client.ready()
  const refused = { code: 'FST_MQTT_WORKER_TOPIC', statusCode: 403, maybeSent: false }
  t.match(await failure(client.publish('forbidden', 'x')), refused)
  t.match(await failure(client.publish('ok/a', 'x', { absolute: true })), refused)
  t.match(await failure(client.publish('forbidden', 'x', { qos: 1 })), refused)
  await client.publish('ok/a', 'x')
  await client.publish('elsewhere', 'x', { absolute: true, qos: 1 })
  t.same(station.topics, ['p/ok/a', 'elsewhere'])
})

t.test('an aborted publish rejects with the reason, and is taken off the queue', async t => {
  const { client, station, accept } = connect(t, { offline: true })
  accept()
  await client.ready()
  t.match(await failure(client.publish('a', 'x', { signal: AbortSignal.abort(new Error('before')) })), {
    code: 'FST_MQTT_ABORTED', maybeSent: false, cause: { message: 'before' }
  })
  const controller = new AbortController()
  const publish = client.publish('a', 'aborted', { qos: 1, signal: controller.signal })
  const kept = client.publish('a', 'kept', { qos: 1, signal: new AbortController().signal })
  controller.abort(new Error('why'))
  t.match(await failure(publish), { code: 'FST_MQTT_ABORTED', maybeSent: true, cause: { message: 'why' } })
  await waitFor(() => station.outbox.messages === 1, 'the abort')
  station.connect()
  await kept
  t.same(station.received.map(({ payload }) => payload), ['kept'])
})

t.test('a signal that is aborted in the course of the call', async t => {
  const { client, station, accept } = connect(t)
  accept()
  await client.ready()
  const inPayload = new AbortController()
  const inProperties = new AbortController()
  const payload = { toJSON: () => { inPayload.abort(new Error('why')); return 1 } }
  const properties = { get contentType () { inProperties.abort(new Error('why')); return 'text/plain' } }
  const aborted = { code: 'FST_MQTT_ABORTED', maybeSent: false, cause: { message: 'why' } }
  t.match(await failure(client.publish('a', payload, { qos: 1, signal: inPayload.signal })), aborted)
  t.match(await failure(client.publish('a', 'x', { qos: 1, signal: inProperties.signal, properties })), aborted)
  await client.publish('b', 'x', { qos: 1 })
  t.same(station.topics, ['b'])
})

t.test('a timeout of its own counts from the call', async t => {
  const { client, station, accept } = connect(t)
  const start = performance.now()
  const early = failure(client.publish('early', 'x', { qos: 1, timeout: 50 }))
  const later = client.publish('later', 'x', { qos: 1, timeout: 60_000 })
  const none = client.publish('none', 'x', { qos: 2, timeout: 0 })
  t.match(await early, { code: 'FST_MQTT_TIMEOUT', maybeSent: true }, 'while nobody has answered')
  t.ok(performance.now() - start < 3_000)
  accept()
  await Promise.all([later, none])
  t.same(station.topics, ['later', 'none'], 'whoever takes it too late does not send it')
  station.link.answers = false
  const unconfirmed = client.publish('unconfirmed', 'x', { qos: 1, timeout: 50 })
  t.match(await failure(unconfirmed), { code: 'FST_MQTT_TIMEOUT', maybeSent: true })
  station.link.release()
})

t.test('deadlines: the connection\'s, one\'s own, and none', async t => {
  const { client, station, accept } = connect(t, { timeout: 20, offline: true })
  accept()
  const never = client.publish('never', 'x', { qos: 1, timeout: 0 })
  t.match(await failure(client.publish('own', 'x', { qos: 1, timeout: 1 })), { code: 'FST_MQTT_TIMEOUT', maybeSent: false })
  t.match(await failure(client.publish('default', 'x', { qos: 1 })), { code: 'FST_MQTT_TIMEOUT', maybeSent: false })
  station.connect()
  await never
  t.same(station.topics, ['never'])
})

t.test('a version that becomes known later: what is encoded in another is rewritten', async t => {
  const { client, station, accept } = connect(t, { offline: true, prefix: 'p' })
  const early = client.publish('early', '5', { qos: 1, properties: { contentType: 'lost' } })
  accept()
  await client.ready()
  const middle = client.publish('middle', '5', { qos: 1 })
  const run = [client.publish('run', '5'), client.publish('run', '5')]
  await waitFor(() => station.outbox.messages === 4, 'all to be taken')
  station.version = 4
  station.bridge.setVersion(4)
  station.connect()
  await Promise.all([early, middle, ...run])
  await client.publish('late', '4', { qos: 1 })
  t.match(station.received, [
    { topic: 'p/early', payload: '5', properties: undefined },
    { topic: 'p/middle', payload: '5' },
    { topic: 'p/run', payload: '5' },
    { topic: 'p/run', payload: '5' },
    { topic: 'p/late', payload: '4' }
  ])
})

t.test('properties that the version cannot carry are noticed', async t => {
  let unsendable = 0
  const { client, station, accept } = connect(t, { version: 4, onUnsendable: () => { unsendable++ } })
  accept()
  await client.ready()
  await client.publish('a', 'x', { qos: 1 })
  t.equal(unsendable, 0)
  await client.publish('a', 'x', { qos: 1, properties: { contentType: 'lost' } })
  t.equal(unsendable, 1)
  t.equal(station.received.length, 2)
})

t.test('when the application closes: what was taken is answered, what was not is refused', async t => {
  const { client, station, accept } = connect(t)
  accept()
  await client.ready()
  station.link.answers = false
  const taken = client.publish('taken', 'x', { qos: 1 })
  await station.link.until(1)
  const lost = client.publish('lost', 'x', { qos: 1 })
  await station.bridge.close()
  await waitFor(() => client.over !== undefined, 'closed')
  const late = client.publish('late', 'x', { qos: 1 })
  t.match(await failure(late), { code: 'FST_MQTT_CLOSED', maybeSent: false })
  t.match(await failure(client.ready()), { code: 'FST_MQTT_CLOSED' })
  station.link.release()
  await taken
  await lost
  t.same(station.topics, ['taken', 'lost'], 'what was posted before has been taken')
  await waitFor(() => station.bridge.workers === 0, 'the port to close')
})

t.test('when the outbox closes too, what is left is answered with FST_MQTT_CLOSED', async t => {
  const { client, station, accept } = connect(t, { offline: true })
  accept()
  const left = client.publish('left', 'x', { qos: 1 })
  await station.close()
  t.match(await failure(left), { code: 'FST_MQTT_CLOSED', maybeSent: false })
})

t.test('a port that just closes', async t => {
  const { client, station, accept } = connect(t, { offline: true })
  accept()
  await client.ready()
  const { port1, port2 } = new MessageChannel()
  const other = new WorkerClient(port1)
  port2.postMessage({ type: 'hello', protocol: 1, prefix: '', version: 5, maxBytes: 1e6, window: 0 })
  port2.postMessage({ type: 'something new' })
  port2.postMessage('not ours')
  await other.ready()
  const publish = other.publish('a', 'x')
  port2.close()
  t.match(await failure(publish), { code: 'FST_MQTT_CLOSED', maybeSent: true })
  t.equal(station.bridge.workers, 1)
})

t.test('1 000 publishes of all kinds come out in the order in which they were made', async t => {
  const { client, station, accept } = connect(t, { prefix: 'p' })
  const all: Array<Promise<unknown>> = []
  for (let i = 0; i < 1000; i++) {
    if (i === 100) accept()
    if (i % 90 === 0) await new Promise(resolve => setImmediate(resolve))
    const payload = i % 7 === 0 ? Buffer.alloc(20_000, `${i}.`) : `${i}.`
    all.push(client.publish('t', payload, { qos: (i % 3) as 0 | 1 | 2, retain: i % 11 === 0, ...(i % 13 === 0 && { timeout: 10_000 }) }))
  }
  await Promise.all(all)
  await station.link.until(1000)
  t.same(station.received.map(({ payload }) => parseInt(payload)), Array.from({ length: 1000 }, (_, i) => i))
  t.equal(station.outbox.messages, 0)
  t.equal(station.outbox.bytes, 0)
})

t.test('a request before anybody has answered: what it was called with, in its place, and once', async t => {
  const asked: Array<{ ahead: number, properties: PublishProperties }> = []
  const { client, station, accept } = connect(t, {
    request: async (_source, _topic, _payload, { properties }) => {
      asked.push({ ahead: station.outbox.messages, properties: properties! })
      return { topic: 'r', absoluteTopic: 'r', payload: Buffer.from('answer'), qos: 0, retain: false, dup: false, properties: {} } as unknown as Message
    }
  })
  const userProperties = { tenant: 'a', list: ['b'] }
  const correlationData = Buffer.from('corr')
  const before = client.publish('before', 'x', { qos: 1 })
  const answer = client.request('ask', 'q', { properties: { userProperties, correlationData } as object })
  const after = client.publish('after', 'x', { qos: 1 })
  userProperties.tenant = 'CHANGED'
  userProperties.list.push('CHANGED')
  correlationData.fill(0)
  // Nobody took this port; then somebody took one that the worker had given up, and the next one too.
  const second = new MessageChannel()
  client.bind(second.port1)
  const third = new MessageChannel()
  client.bind(third.port1, { keepsLast: true, again: true })
  station.bridge.accept(second.port2, 1, 'w')
  t.equal((await answer).text(), 'answer')
  await Promise.all([before, after])
  t.same(station.topics, ['before', 'after'])
  t.equal(asked.length, 1)
  const { ahead, properties } = asked[0]!
  t.equal(ahead, 1, 'behind what was published before')
  t.same(properties.userProperties, { tenant: 'a', list: ['b'] })
  t.equal(Buffer.from(properties.correlationData!).toString(), 'corr')
  t.equal(properties.correlationData!.buffer.byteLength, 4, 'P24')
  accept()
})

t.test('a former port that brings the answer after all gets what was said since', async t => {
  const { client, station } = connect(t)
  const taken = new MessageChannel()
  client.bind(taken.port1)
  const first = client.publish('first', 'x', { qos: 1 })
  await Promise.resolve()
  const other = new MessageChannel()
  client.bind(other.port1, { keepsLast: true, again: true })
  const second = client.publish('second', 'x', { qos: 1 })
  await Promise.resolve()
  station.bridge.accept(taken.port2, 1, 'w')
  await Promise.all([first, second])
  await client.publish('third', 'x', { qos: 1 })
  t.same(station.topics, ['first', 'second', 'third'])
})

t.test('a main thread with another version of the package', async t => {
  const { port1, port2 } = new MessageChannel()
  const client = new WorkerClient(port1)
  const early = failure(client.publish('a', 'x', { qos: 1 }))
  const ready = failure(client.ready())
  port2.postMessage({ type: 'mismatch', protocol: 99 })
  t.match(await early, { code: 'FST_MQTT_NO_PLUGIN', maybeSent: false, message: /another version .* it speaks 99, this one 1/ })
  t.match(await ready, { code: 'FST_MQTT_NO_PLUGIN' })
})
