import mqttPacket from 'mqtt-packet'
import { createHash } from 'node:crypto'
import t, { type Test } from 'tap'
import { MessageChannel, receiveMessageOnPort, type MessagePort } from 'node:worker_threads'
import type { PublishPacket, QoS } from '../../lib/index.ts'
import type { MainMessage, PublishMessage, SettledMessage } from '../../lib/bridge/protocol.ts'
import type { OutboxLink } from '../../lib/outbox/outbox.ts'
import { PublishHooks } from '../../lib/outbox/publish-hooks.ts'
import { Hooks } from '../../lib/routing/hooks.ts'
import { PacketType } from '../../lib/wire/packet.ts'
import type { ConnectInfo } from '../../lib/wire/tap.ts'
import { Batch } from '../../workers/batch.ts'
import { WorkerClient } from '../../workers/client.ts'
import { waitFor, withinTime } from '../support/events.ts'
import { random } from '../support/random.ts'
import { remaining } from './collect.ts'
import { Station, type StationOptions } from './station.ts'

/* Promise P24, for memory that goes to the main thread and comes back: it is used again, and never too early. */

const UNIT = 64 * 1024

interface Crossing {
  station: Station
  worker: WorkerClient
  /** What went over with lent memory, and what came back: capacities. */
  lent: number[]
  returned: number[]
  /** What was lent last. */
  last: () => { used: number, bytes: Buffer }
}

/** A worker's side and a station, and somebody who reads along. */
async function cross (t: Test, options: StationOptions = {}): Promise<Crossing> {
  const station = new Station(options)
  t.teardown(() => station.close())
  const worker = new MessageChannel()
  const main = new MessageChannel()
  const lent: number[] = []
  const returned: number[] = []
  let last = { used: 0, bytes: Buffer.alloc(0) }
  relay(worker.port2, main.port1, message => {
    const { used, buffer } = message as PublishMessage
    if (used === undefined) return [buffer].filter(it => it !== undefined)
    lent.push(buffer.byteLength)
    last = { used, bytes: Buffer.from(Buffer.from(buffer)) }
    return [buffer]
  })
  relay(main.port1, worker.port2, message => {
    const buffers = (message as MainMessage).type === 'settled' ? (message as { returned: ArrayBuffer[] }).returned : []
    returned.push(...buffers.map(({ byteLength }) => byteLength))
    return buffers
  })
  station.bridge.accept(main.port2, 7)
  t.teardown(() => { worker.port1.close(); main.port1.close() })
  const client = new WorkerClient(worker.port1)
  await client.ready()
  return { station, worker: client, lent, returned, last: () => last }
}

function relay (from: MessagePort, to: MessagePort, transfers: (message: unknown) => ArrayBuffer[]): void {
  from.on('message', message => to.postMessage(message, transfers(message)))
}

/** Bytes that only this number has. */
function pattern (n: number, size: number): Buffer {
  const bytes = Buffer.alloc(size, createHash('sha256').update(String(n)).digest())
  if (size >= 4) bytes.writeUInt32BE(n, 0)
  return bytes
}

t.test('what fills its memory at least by half is lent; the others are copied out', async t => {
  const { worker, lent, returned, station } = await cross(t)
  for (const size of [1, 1_000, 30_000]) await worker.publish('a', pattern(1, size), { qos: 1 })
  t.same(lent, [])
  for (const size of [40_000, 65_000, 65_536, 300_000]) await worker.publish('a', pattern(1, size), { qos: 1 })
  t.same(lent, [UNIT, UNIT, 2 * UNIT, 5 * UNIT])
  await waitFor(() => returned.length === lent.length, 'all of it')
  t.same(returned, lent)
  // Together, too.
  await Promise.all(Array.from({ length: 20 }, () => worker.publish('a', pattern(1, 2_000), { qos: 1 })))
  t.same(lent.slice(4), [UNIT])
  t.equal(station.received.length, 27)
})

t.test('it is the same memory that is filled again', async t => {
  const { worker, lent, returned, last } = await cross(t)
  await worker.publish('a', pattern(1, 65_000), { qos: 1 })
  await waitFor(() => returned.length === 1, 'the memory')
  await worker.publish('a', pattern(2, 40_000), { qos: 1 })
  t.same(lent, [UNIT, UNIT])
  const { used, bytes } = last()
  t.ok(bytes.subarray(used).includes(pattern(1, 65_000).subarray(50_000, 60_000)), 'behind the second publish there is still the first')
})

t.test('what an onPublish hook sees stays what it was', async t => {
  const hooks = new Hooks()
  const kept: Array<{ payload: Buffer, n: number }> = []
  hooks.add('onPublish', (packet: PublishPacket) => { kept.push({ payload: packet.payload, n: packet.payload.readUInt32BE(0) }) }, undefined as never)
  const { worker, lent, returned } = await cross(t, { hooks: PublishHooks.of({ instance: undefined as never, hooks }) })
  for (let n = 0; n < 50; n++) await worker.publish('a', pattern(n, 50_000), { qos: 1 })
  t.equal(lent.length, 50)
  t.equal(returned.length, 0, 'nothing of it goes back')
  t.ok(kept.every(({ payload, n }) => payload.equals(pattern(n, 50_000))))
  t.equal(kept.length, 50)
})

/** A socket: it reads what it was given where it lies, some time later, or never, and then says so. */
class LazyLink implements OutboxLink {
  ready = true
  readonly #writes: Array<{ packets: readonly Buffer[], done: (() => void) | undefined }> = []
  readonly #station: Station
  readonly #onPublish: (payload: Buffer) => void
  readonly #parser = mqttPacket.parser({ protocolVersion: 5 })
  #answers: Array<() => void> = []

  constructor (station: Station, onPublish: (payload: Buffer) => void) {
    this.#station = station
    this.#onPublish = onPublish
    this.#parser.on('packet', packet => {
      const { outbox } = station
      if (packet.cmd === 'pubrel') this.#answers.push(() => outbox.acknowledge(this, PacketType.PUBCOMP, packet.messageId!, 0))
      if (packet.cmd !== 'publish') return
      this.#onPublish(packet.payload as Buffer)
      if (packet.qos > 0) this.#answers.push(() => outbox.acknowledge(this, packet.qos === 1 ? PacketType.PUBACK : PacketType.PUBREC, packet.messageId!, 0))
    })
    this.#parser.on('error', error => { throw error })
  }

  send (packets: readonly Buffer[], done?: () => void): void {
    this.#writes.push({ packets, done })
    this.ready = this.#writes.length < 4
  }

  /** Some of what was written leaves, and some of what has arrived is confirmed. */
  step (writes: number, answers: number): void {
    for (const { packets, done } of this.#writes.splice(0, writes)) {
      this.#parser.parse(Buffer.concat(packets))
      done?.()
    }
    for (const answer of this.#answers.splice(0, answers)) answer()
    if (this.ready || this.#writes.length >= 4) return
    this.ready = true
    this.#station.outbox.drain(this)
  }

  /** The connection is gone; the writes are over all the same. */
  destroy (): void {
    this.#station.outbox.detach(this)
    for (const { done } of this.#writes.splice(0)) done?.()
  }
}

/** What the broker says of itself. */
const info: ConnectInfo = {
  version: 5,
  sessionPresent: true,
  receiveMaximum: 65_535,
  maximumPacketSize: 268_435_460,
  maximumQoS: 2,
  retainAvailable: true,
  subscriptionIdentifiers: true
}

t.test('no byte changes while somebody may still read it', async t => {
  const seed = Math.floor(Math.random() * 2 ** 31)
  t.comment(`seed ${seed}`)
  const below = random(seed)
  const { worker, station, lent, returned } = await cross(t, { offline: true, window: 2 * 1024 * 1024, limits: { inflight: 20 } })
  const sizes: number[] = []
  let wrong = 0
  let duplicates = 0
  const seen = new Set<number>()
  const onPublish = (payload: Buffer): void => {
    const n = payload.readUInt32BE(0)
    if (seen.has(n)) duplicates++
    seen.add(n)
    if (sizes[n] === undefined || !payload.equals(pattern(n, sizes[n]))) wrong++
  }
  const count = 1_500
  const all: Array<Promise<unknown>> = []
  const confirmed = new Set<number>()
  let link: LazyLink | undefined
  let connections = 0
  const work = async (): Promise<void> => {
    for (let n = 0; n < count; n++) {
      const size = 4 + [below(100), below(5_000), below(60_000), below(200_000)][below(4)]!
      sizes[n] = size
      const qos = below(3) as QoS
      const aborted = below(20) === 0 ? AbortSignal.timeout(1 + below(20)) : undefined
      const one = worker.publish('a', pattern(n, size), { qos, ...(aborted !== undefined && { signal: aborted }) })
      all.push(one.then(() => { if (qos > 0) confirmed.add(n) }, () => {}))
      if (below(3) === 0) await new Promise(resolve => { setImmediate(resolve) })
    }
  }
  const progress = { settled: false }
  const done = work().then(() => Promise.all(all)).then(() => { progress.settled = true })
  const drive = async (): Promise<void> => {
    while (!progress.settled) {
      if (link === undefined || below(100) === 0) {
        link?.destroy()
        link = new LazyLink(station, onPublish)
        station.outbox.attach(link, info)
        connections++
      }
      link.step(below(3), below(6))
      await new Promise(resolve => { setImmediate(resolve) })
    }
  }
  await withinTime(Promise.all([done, drive()]), 'all to settle', { within: 60_000 })
  t.equal(wrong, 0)
  t.same([...confirmed].filter(n => !seen.has(n)), [], 'what was confirmed has arrived')
  t.ok(lent.length > 50, 'memory was lent')
  t.ok(returned.length > 0)
  t.comment(`${seen.size} of ${count} seen over ${connections} connections, ${duplicates} again, ${lent.length} times lent, ${returned.length} came back meanwhile`)
})

/** The other end of a worker's port, with a thread at it that reads nothing by itself, and full memory that it lends. */
function sleeper (station: Station): { port: MessagePort, lend: (count: number) => void } {
  const { port1, port2 } = new MessageChannel()
  station.bridge.accept(port2, 7)
  const batch = new Batch()
  const lend = (count: number): void => {
    for (let i = 0; i < count; i++) {
      batch.add(
        { topic: Buffer.from([0, 1, 0x61]), payload: Buffer.alloc(60_000), payloadLength: 60_000, qos: 1, retain: false, properties: null, size: 60_010 }, 5,
        { deadline: undefined, abortable: false, absolute: false })
      const message = batch.take({ prefix: '', version: 5 }, true)
      port1.postMessage(message, [message.buffer])
    }
  }
  return { port: port1, lend }
}

t.test('a thread that sleeps gets no more back than it would keep, until it lends some again', async t => {
  const station = new Station()
  t.teardown(() => station.close())
  const { port, lend } = sleeper(station)
  let returned = 0
  let confirmed = 0
  const read = (): void => {
    for (let received; (received = receiveMessageOnPort(port)) !== undefined;) {
      const { type, confirmed: ranges, returned: buffers } = received.message as SettledMessage
      if (type !== 'settled') continue
      for (let i = 1; i < ranges.length; i += 2) confirmed += ranges[i]!
      for (const { byteLength } of buffers) returned += byteLength
    }
  }
  lend(100)
  await waitFor(() => { read(); return confirmed === 100 }, 'the answers')
  t.equal(returned, 64 * UNIT)
  lend(10)
  await waitFor(() => { read(); return confirmed === 110 }, 'the answers')
  t.equal(returned, 74 * UNIT)
  port.close()
})

t.test('of what a dead worker has lent no more is kept than what is still on its way', t => {
  async function stage (t: Test): Promise<{ station: Station, port: MessagePort, link: LazyLink, memory: Set<WeakRef<ArrayBufferLike>> }> {
    const station = new Station({ offline: true })
    t.teardown(() => station.close())
    const { port, lend } = sleeper(station)
    const link = new LazyLink(station, () => {})
    const memory = new Set<WeakRef<ArrayBufferLike>>()
    const send = link.send.bind(link)
    link.send = (packets, done) => {
      for (const { buffer } of packets) memory.add(new WeakRef(buffer))
      send(packets, done)
    }
    lend(40)
    await waitFor(() => station.outbox.messages === 40, 'all to be taken')
    station.outbox.attach(link, info)
    await waitFor(() => { link.step(4, 0); return memory.size === 40 }, 'all to be written')
    link.step(4, 0)
    return { station, port, link, memory }
  }

  t.test('confirmed after its death', async t => {
    const { station, port, link, memory } = await stage(t)
    port.close()
    await waitFor(() => station.bridge.workers === 0, 'the end of the worker')
    await waitFor(() => { link.step(0, 1); return station.outbox.messages === 3 }, 'all but three to be confirmed')
    t.equal(await remaining(memory, 3), 3)
  })

  t.test('confirmed as it dies', async t => {
    const { station, port, link, memory } = await stage(t)
    port.close()
    await waitFor(() => { link.step(0, 1); return station.bridge.workers === 0 }, 'the end of the worker')
    const { messages } = station.outbox
    t.ok(messages > 0)
    t.equal(await remaining(memory, messages), messages)
  })
  t.end()
})
