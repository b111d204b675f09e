import t, { type Test } from 'tap'
import { MessageChannel, type MessagePort } from 'node:worker_threads'
import { encodePublish, publishLength } from '../../lib/wire/encode.ts'
import type { QoS } from '../../lib/wire/packet.ts'
import { TopicCache } from '../../lib/wire/topic-cache.ts'
import type { MainMessage, PublishMessage, SettledMessage } from '../../lib/bridge/protocol.ts'
import { WorkerClient } from '../../workers/client.ts'
import { delivery } from '../outbox/support.ts'
import { nextEvent, waitFor } from '../support/events.ts'
import { Station, type StationOptions } from './station.ts'

/** A station with a port into it, through which anything can be said. */
function open (t: Test, options: StationOptions = {}): { station: Station, port: MessagePort, said: MainMessage[] } {
  const station = new Station(options)
  const { port1, port2 } = new MessageChannel()
  const said: MainMessage[] = []
  port1.on('message', message => { said.push(message as MainMessage) })
  station.bridge.accept(port2, 7)
  t.teardown(() => station.close())
  return { station, port: port1, said }
}

function frame (topic: string, { payload = 'x', qos = 0 as QoS, retain = false } = {}): Buffer {
  const name = new TopicCache('').encode(topic, false)
  const size = publishLength(name.length, payload.length, qos, 5, null)
  const buffer = Buffer.allocUnsafeSlow(size)
  encodePublish(buffer, 0, name, payload, payload.length, qos, retain, 5, null)
  return buffer
}

function message (frames: Buffer[], more: Partial<PublishMessage> = {}): PublishMessage {
  const { buffer, byteOffset, byteLength } = Buffer.concat(frames)
  return {
    type: 'publish', buffer: (buffer as ArrayBuffer).slice(byteOffset, byteOffset + byteLength), prefix: '', version: 5, first: 0, count: frames.length, ...more
  }
}

/** All memory that lies behind what is written from now on. */
function memoryOf ({ link }: Station): Set<ArrayBufferLike> {
  const memory = new Set<ArrayBufferLike>()
  const send = link.send.bind(link)
  link.send = (packets, done) => {
    for (const { buffer } of packets) memory.add(buffer)
    send(packets, done)
  }
  return memory
}

t.test('what cannot be read closes the port it came through and hurts nobody else', async t => {
  const good = frame('good')
  const cut = good.subarray(0, -1)
  const badProperties = Buffer.from(good)
  badProperties[good.length - 2] = 100
  const bad: Record<string, unknown> = {
    'no frame': { type: 'publish' },
    'no buffer': { ...message([good]), buffer: undefined },
    'shared memory, which the worker could change afterwards': { ...message([good]), buffer: new SharedArrayBuffer(good.length) },
    'frames past their memory': message([good], { used: good.length + 1 }),
    'less than nothing': message([good], { used: -1 }),
    'half a byte': message([good], { used: good.length - 0.5 }),
    'more lent than frames, and those not whole': message([good], { used: good.length - 1 }),
    'a string': { ...message([good]), buffer: 'PUBLISH' },
    'cut off': message([good, cut]),
    'not a PUBLISH': message([Buffer.from([0xc0, 0])]),
    'QoS 3': message([Buffer.concat([Buffer.from([0x36]), good.subarray(1)])]),
    DUP: message([Buffer.concat([Buffer.from([0x3a]), good.subarray(1)])]),
    'no topic': message([Buffer.from([0x30, 3, 0, 0, 0])]),
    'a length without end': message([Buffer.from([0x30, 0xff, 0xff, 0xff, 0xff, 0xff])]),
    'properties that do not end': message([badProperties]),
    'more bytes than frames': message([good, good], { count: 1 }),
    'fewer frames than said': message([good], { count: 3 }),
    'out of turn': message([good], { first: 5 }),
    'no version': message([good], { version: 9 as never }),
    'marks that are no list': message([good], { deadlines: 7 as never }),
    'marks that are no numbers': message([good], { deadlines: [0, 1n as never] }),
    'marks of what is not here': message([good], { abortable: ['x' as never] }),
    'marks that are not a number': message([good], { absolute: [NaN] }),
    'a prefix longer than the topic': message([good], { prefix: 'goodness' })
  }
  for (const [name, data] of Object.entries(bad)) {
    await t.test(name, async t => {
      const { station, port, said } = open(t, { window: 0 })
      const other = new MessageChannel()
      const bystander = new WorkerClient(other.port1)
      station.bridge.accept(other.port2, 8)
      const closed = nextEvent(port, 'close')
      port.postMessage(data)
      await closed
      t.equal(station.logged.length, 1)
      t.match(said.find(({ type }) => type === 'closed'), { message: /could not read/ })
      await bystander.publish('bystander', 'x')
      t.ok(station.topics.every(topic => topic === 'good' || topic === 'bystander'), String(station.topics))
      t.equal(station.bridge.workers, 1)
    })
  }
})

t.test('where workers are limited, what they encode themselves cannot hang up on everybody', async t => {
  const withProperties = (block: number[]): Buffer => Buffer.from([0x30, 8 + block.length, 0, 4, ...Buffer.from('ok/a'), block.length, ...block, 120])
  const withTopic = (topic: Buffer): Buffer => Buffer.from([0x30, 4 + topic.length, 0, topic.length, ...topic, 0, 120])
  t.test('the port is closed', async t => {
    const bad: Record<string, Buffer> = {
      'a wildcard': withTopic(Buffer.from('ok/#')),
      NUL: withTopic(Buffer.from('ok/\0')),
      'a control character': withTopic(Buffer.from('ok/\n')),
      'not UTF-8': withTopic(Buffer.from([...Buffer.from('ok/'), 0xff, 0xfe])),
      'an unknown property': withProperties([0x7f, 1]),
      'a topic alias': withProperties([0x23, 0, 5]),
      'a subscription identifier': withProperties([0x0b, 5]),
      'a property twice': withProperties([1, 1, 1, 1]),
      'a property that is cut off': withProperties([2, 0])
    }
    for (const [name, one] of Object.entries(bad)) {
      const { station, port } = open(t, { permits: topic => topic.startsWith('ok/') })
      const closed = nextEvent(port, 'close')
      port.postMessage(message([one]))
      await closed
      t.equal(station.logged.length, 1, name)
      t.same(station.topics, [], name)
    }
  })

  t.test('what a publish would not be given is refused alone', async t => {
    const { station, port, said } = open(t, { permits: topic => topic.startsWith('ok/') })
    port.postMessage(message([withProperties([3, 0, 1, 10]), withProperties([8, 0, 1, 35]), withProperties([3, 0, 1, 97])]))
    await station.link.until(1)
    await waitFor(() => said.some(({ type }) => type === 'settled'), 'the answer')
    t.match(said.find(({ type }) => type === 'settled'), { failed: [{ first: 0, code: 'FST_MQTT_PROPERTY' }, { first: 1, code: 'FST_MQTT_PROPERTY' }] })
    t.match(station.received, [{ topic: 'ok/a', properties: { contentType: 'a' } }])
    port.close()
  })
})

t.test('QoS 0 that waits for a connection does so together', async t => {
  const { station, port } = open(t, { offline: true })
  const small = frame('small')
  let first = 0
  const say = (frames: Buffer[]): void => {
    port.postMessage(message(frames, { first }))
    first += frames.length
  }
  for (let turn = 0; turn < 100; turn++) say([small, small, small])
  say([frame('large', { payload: 'x'.repeat(200) }), small, frame('kept', { retain: true }), frame('one', { qos: 1 }), small])
  await waitFor(() => station.outbox.messages === 305, 'all to be taken')
  const writes: number[] = []
  const send = station.link.send.bind(station.link)
  station.link.send = (packets, done) => { writes.push(packets.length); send(packets, done) }
  station.connect()
  await station.link.until(305)
  t.same(station.topics.slice(300), ['large', 'small', 'kept', 'one', 'small'], 'in order')
  t.equal(writes[0], 5, 'three hundred of a hundred turns lie next to each other')
  await waitFor(() => station.outbox.messages === 0, 'the answers')
  t.equal(station.outbox.counters.published, 305)
  port.close()
})

t.test('QoS 0 that waits for a broker that does not read does so together, too', async t => {
  const { station, port } = open(t)
  station.link.ready = false
  for (let turn = 0; turn < 300; turn++) port.postMessage(message([frame(`turn/${turn}`)], { first: turn }))
  await waitFor(() => station.outbox.messages === 300, 'all to be taken')
  const memory = memoryOf(station)
  station.link.ready = true
  station.outbox.drain(station.link)
  await station.link.until(300)
  t.same(station.topics, Array.from({ length: 300 }, (_, turn) => `turn/${turn}`))
  t.equal(memory.size, 2, 'that of the first, and one for all others')
  port.close()
})

t.test('so does what comes between large turns', async t => {
  const { station, port } = open(t)
  station.link.ready = false
  for (let turn = 0; turn < 100; turn++) {
    port.postMessage(message([frame(`small/${turn}`)], { first: 2 * turn }))
    port.postMessage(message([frame(`large/${turn}`, { payload: 'x'.repeat(3_000) })], { first: 2 * turn + 1 }))
  }
  await waitFor(() => station.outbox.messages === 200, 'all to be taken')
  const memory = memoryOf(station)
  station.link.ready = true
  station.outbox.drain(station.link)
  await station.link.until(200)
  t.same(station.topics, Array.from({ length: 200 }, (_, n) => `${n % 2 === 0 ? 'small' : 'large'}/${Math.floor(n / 2)}`), 'in order')
  t.equal(memory.size, 102, 'that of the first, one for each large one, and one for all other small ones')
  port.close()
})

t.test('of a turn that is mostly refused no more is kept than what was taken', async t => {
  const { station, port, said } = open(t, { offline: true, permits: topic => topic === 'ok' })
  const frames = [...Array<Buffer>(300).fill(frame('no', { qos: 1, payload: 'x'.repeat(100) })), frame('ok', { qos: 1 })]
  for (let turn = 0; turn < 20; turn++) {
    const one = message(frames, { first: turn * 301 })
    // Every second one is lent.
    port.postMessage(turn % 2 === 0 ? one : { ...one, used: one.buffer.byteLength }, turn % 2 === 0 ? [] : [one.buffer])
  }
  await waitFor(() => station.outbox.counters.refused === 6_000, 'the refusals')
  const back = (): number => said.flatMap(it => it.type === 'settled' ? it.returned : []).length
  await waitFor(() => back() === 10, 'what was lent to go back', { within: 5_000 })
  const memory = memoryOf(station)
  station.connect()
  await station.link.until(20)
  t.same(station.topics, Array(20).fill('ok'))
  t.same([...memory].map(({ byteLength }) => byteLength), [65_536])
  port.close()
})

t.test('without a connection a request keeps its place among QoS 0', async t => {
  const { station, port } = open(t, {
    offline: true,
    request: source => {
      station.outbox.add(source, delivery(0, Infinity, () => {}, 'request'))
      return new Promise(() => {})
    }
  })
  port.postMessage(message([frame('a', { payload: 'before' })]))
  port.postMessage({ type: 'request', id: 0, topic: 'n', payload: '', options: {} })
  port.postMessage(message([frame('a', { payload: 'after' })], { first: 1 }))
  await waitFor(() => station.outbox.messages === 3, 'all to be taken')
  station.connect()
  await station.link.until(3)
  t.same(station.received.map(({ payload }) => payload), ['before', 'request', 'after'])
  port.close()
})

t.test('one that is over the limit of the broker takes none of its turn along', async t => {
  for (const early of [true, false]) {
    const { station, port } = open(t, { offline: true })
    if (!early) station.connect({ maximumPacketSize: 150 })
    port.postMessage(message([frame('a'), frame('large', { payload: 'x'.repeat(200) }), frame('b'), frame('end', { qos: 1 })]))
    if (early) {
      await waitFor(() => station.outbox.messages === 4, 'all to be taken')
      station.connect({ maximumPacketSize: 150 })
    }
    await station.link.until(3)
    t.same(station.topics, ['a', 'b', 'end'])
    port.close()
  }
})

t.test('messages of a later version of the package are ignored', async t => {
  const { station, port } = open(t)
  for (const unknown of [null, 'text', 42, [], {}, { type: 'later', seq: 0 }, { type: 'abort', seq: 99 }]) port.postMessage(unknown)
  port.postMessage(message([frame('a')]))
  await station.link.until(1)
  t.equal(station.logged.length, 0)
  port.close()
})

t.test('one answer for each turn, with ranges', async t => {
  const { station, port, said } = open(t)
  station.link.reasons.set('n', 16).set('d', 0x87)
  const frames = [
    frame('a'), frame('a'), frame('b', { qos: 1 }), frame('n', { qos: 1 }), frame('c', { qos: 1 }),
    frame('d', { qos: 1 }), frame('d', { qos: 1 }), frame('e', { qos: 1 })
  ]
  station.link.answers = false
  port.postMessage(message(frames))
  await station.link.until(8)
  station.link.release()
  await waitFor(() => said.length === 2, 'the answer')
  const error = { code: 'FST_MQTT_PUBLISH_REFUSED', reasonCode: 0x87, maybeSent: true }
  t.match(said[1], { type: 'settled', codes: [3, 16], failed: [{ first: 5, count: 2, ...error }], credit: Buffer.concat(frames).length })
  const { confirmed } = said[1] as SettledMessage
  const numbers: number[] = []
  for (let i = 0; i < confirmed.length; i += 2) for (let n = 0; n < confirmed[i + 1]!; n++) numbers.push(confirmed[i]! + n)
  t.same(numbers.sort((a, b) => a - b), [0, 1, 2, 4, 7])
  port.close()
})

t.test('a prefix that is not the connection\'s any more is replaced', async t => {
  const { station, port, said } = open(t, { prefix: 'new/one', version: 4 })
  const long = 'l'.repeat(65_530)
  port.postMessage(message(
    [frame('old/a', { payload: 'a' }), frame('abs', { qos: 2, payload: 'b' }), frame('old/c', { qos: 1, payload: 'c'.repeat(130) })],
    { prefix: 'old', absolute: [1] }))
  port.postMessage(message([frame(long), frame('d')], { first: 3 }))
  await station.link.until(4)
  t.match(station.received, [
    { topic: 'new/one/a', payload: 'a', qos: 0 },
    { topic: 'abs', payload: 'b', qos: 2 },
    { topic: 'new/one/c', payload: 'c'.repeat(130), qos: 1 },
    { topic: 'new/one/d' }
  ])
  await waitFor(() => said.some(message => message.type === 'settled' && message.failed.length === 1), 'the refusal')
  t.match(said.find(message => message.type === 'settled' && message.failed.length === 1), {
    failed: [{ first: 3, count: 1, code: 'FST_MQTT_TOPIC', maybeSent: false }]
  })
  port.close()
})

t.test('workers.topics is asked about the topic as the broker sees it', async t => {
  const asked: string[] = []
  const station = new Station({ prefix: 'p', permits: topic => { asked.push(topic); return topic !== 'p/no' && topic !== 'no' } })
  t.teardown(() => station.close())
  const { port1, port2 } = new MessageChannel()
  const client = new WorkerClient(port1)
  const results = Promise.allSettled([
    client.publish('yes', 'x'), client.publish('no', 'x'), client.publish('no', 'x', { absolute: true, qos: 1 }), client.publish('no2', 'x', { qos: 1 })
  ])
  station.bridge.accept(port2, 1)
  const refused = { status: 'rejected', reason: { code: 'FST_MQTT_WORKER_TOPIC', statusCode: 403, maybeSent: false } }
  t.match(await results, [{ status: 'fulfilled' }, refused, refused, { status: 'fulfilled' }])
  await t.rejects(client.publish('no', 'x', { qos: 1 }), { code: 'FST_MQTT_WORKER_TOPIC' })
  t.same(asked, ['p/yes', 'p/no', 'no', 'p/no2', 'p/no'])
  t.same(station.topics, ['p/yes', 'p/no2'])
})

t.test('P24: what crosses is exactly the frames', async t => {
  const { port1, port2 } = new MessageChannel()
  const client = new WorkerClient(port1)
  const buffers: ArrayBuffer[] = []
  port2.on('message', (message: PublishMessage) => { buffers.push(message.buffer) })
  void client.publish('kept', Buffer.from('as long as nobody answers'))
  await waitFor(() => buffers.length === 1, 'the first')
  port2.postMessage({ type: 'hello', protocol: 1, prefix: '', version: 5, maxBytes: 1e9, window: 1e9 })
  await client.ready()
  const secret = Buffer.from('secret neighbour in the pool')
  void client.publish('a', Buffer.from('tiny'))
  await waitFor(() => buffers.length === 2, 'the second')
  void client.publish('a', 'y'.repeat(300))
  void client.publish('a', 'z')
  await waitFor(() => buffers.length === 3, 'the third')
  void client.publish('a', 'x'.repeat(40_000))
  await waitFor(() => buffers.length === 4, 'what is lent')
  t.same(buffers.map(({ byteLength }) => byteLength), [
    frame('kept', { payload: 'as long as nobody answers' }).length,
    frame('a', { payload: 'tiny' }).length,
    frame('a', { payload: 'y'.repeat(300) }).length + frame('a', { payload: 'z' }).length,
    65_536
  ])
  t.notOk(buffers.some(buffer => Buffer.from(buffer).includes(secret)))
  const behind = Buffer.from(buffers[3]!, frame('a', { payload: 'x'.repeat(40_000) }).length)
  t.ok(behind.equals(Buffer.alloc(behind.length)), 'nothing but what this worker has published before was ever in memory that is lent')
  port2.close()
})
