import t, { type Test } from 'tap'
import type { Delivery } from '../../lib/outbox/delivery.ts'
import { Lease } from '../../lib/outbox/lease.ts'
import { Outbox, type OutboxLink } from '../../lib/outbox/outbox.ts'
import type { Source } from '../../lib/outbox/source.ts'
import { PacketType, type QoS } from '../../lib/wire/packet.ts'
import { delivery, info } from './support.ts'

/* Memory that a worker has lent goes back once everything in it has settled and no socket reads it any more: not before, and not never. */

/** A socket that is done with a write when the test says so. */
class SlowLink implements OutboxLink {
  ready = true
  sent = 0
  readonly #done: Array<() => void> = []

  send (packets: readonly Buffer[], done?: () => void): void {
    this.sent += packets.length
    if (done !== undefined) this.#done.push(done)
  }

  /** All of it has left, or the socket is gone. */
  written (): void {
    for (const done of this.#done.splice(0)) done()
  }
}

interface Bench {
  outbox: Outbox
  link: SlowLink
  source: Source
  lease: Lease
  /** How often the memory has gone back. */
  free: () => number
  add: (qos: QoS) => Delivery
}

function bench (t: Test, { attach = true, maxMessages = 1_000, discard = false } = {}): Bench {
  const outbox = new Outbox({ maxMessages, maxBytes: 1e6, inflight: 100, discard })
  t.teardown(() => outbox.close())
  const link = new SlowLink()
  if (attach) outbox.attach(link, { ...info, sessionPresent: false })
  const source = outbox.createSource('test')
  let freed = 0
  const lease = new Lease(() => { freed++ })
  const add = (qos: QoS): Delivery => {
    const one = delivery(qos, Infinity, () => {}, 'x')
    outbox.add(source, one, lease)
    return one
  }
  return { outbox, link, source, lease, free: () => freed, add }
}

const pumped = (): Promise<void> => new Promise(resolve => { setImmediate(resolve) })

t.test('QoS 0: when it is written', async t => {
  const { add, lease, link, free } = bench(t)
  add(0)
  lease.release()
  await pumped()
  t.equal(link.sent, 1)
  t.equal(free(), 0)
  link.written()
  t.equal(free(), 1)
})

for (const first of ['written', 'confirmed'] as const) {
  t.test(`QoS 1: when it is written and confirmed; first ${first}`, async t => {
    const { add, lease, outbox, link, free } = bench(t)
    const one = add(1)
    lease.release()
    await pumped()
    const steps = [() => link.written(), () => outbox.acknowledge(link, PacketType.PUBACK, one.packetId, 0)]
    if (first === 'confirmed') steps.reverse()
    steps[0]!()
    t.equal(free(), 0)
    steps[1]!()
    t.equal(free(), 1)
  })
}

t.test('QoS 2: not before PUBCOMP, for it may have to be said again', async t => {
  const { add, lease, outbox, link, free } = bench(t)
  const one = add(2)
  lease.release()
  await pumped()
  link.written()
  outbox.acknowledge(link, PacketType.PUBREC, one.packetId, 0)
  t.equal(free(), 0)
  outbox.acknowledge(link, PacketType.PUBCOMP, one.packetId, 0)
  t.equal(free(), 1)
})

t.test('everything in it counts, and who made it', async t => {
  const { add, lease, outbox, link, free } = bench(t)
  const [, second, third] = [add(0), add(1), add(1)] as const
  await pumped()
  link.written()
  outbox.acknowledge(link, PacketType.PUBACK, third.packetId, 0)
  outbox.acknowledge(link, PacketType.PUBACK, second.packetId, 0)
  t.equal(free(), 0, 'the others of its memory are still to come')
  lease.release()
  t.equal(free(), 1)
})

t.test('a caller that gives up does not end the exchange', async t => {
  const { add, lease, outbox, link, free } = bench(t)
  const one = add(1)
  lease.release()
  await pumped()
  link.written()
  outbox.abandon(one, new Error('given up'))
  t.equal(free(), 0)
  outbox.acknowledge(link, PacketType.PUBACK, one.packetId, 0)
  t.equal(free(), 1)
})

t.test('given up while it was queued', async t => {
  const { add, lease, outbox, free } = bench(t, { attach: false })
  const one = add(1)
  lease.release()
  outbox.abandon(one, new Error('given up'))
  t.equal(free(), 1)
})

t.test('sent again on the next connection: both writes count', async t => {
  const { add, lease, outbox, link, free } = bench(t)
  const one = add(1)
  lease.release()
  await pumped()
  outbox.detach(link)
  const next = new SlowLink()
  outbox.attach(next, info)
  t.equal(next.sent, 1)
  outbox.acknowledge(next, PacketType.PUBACK, one.packetId, 0)
  next.written()
  t.equal(free(), 0, 'the socket of the first has not said that it is done')
  link.written()
  t.equal(free(), 1)
})

t.test('QoS 0 in the hands of a socket that is lost', async t => {
  const { add, lease, outbox, link, free } = bench(t)
  add(0)
  lease.release()
  await pumped()
  outbox.detach(link)
  t.equal(free(), 0)
  link.written()
  t.equal(free(), 1)
})

t.test('not taken, or done at once', async t => {
  for (const options of [{ maxMessages: 0 }, { discard: true }]) {
    const { add, lease, free } = bench(t, options)
    t.equal(add(1).state, 'settled')
    t.equal(free(), 0, 'its maker still reads it')
    lease.release()
    t.equal(free(), 1)
  }
})

t.test('moved elsewhere, so that it does not keep what lay around it', async t => {
  const { add, lease, outbox, source, free } = bench(t, { attach: false })
  const all = Array.from({ length: 130 }, () => add(1))
  lease.release()
  // From half of them on, what is left is gathered.
  for (const one of all.slice(0, 100)) outbox.abandon(one, new Error('given up'))
  t.equal(source.messages, 30)
  t.equal(free(), 1)
  t.ok(all[120]!.buffer.length > 0)
})

t.test('closed', async t => {
  const { add, lease, outbox, link, free } = bench(t)
  add(1)
  lease.release()
  await pumped()
  outbox.close()
  t.equal(free(), 0)
  link.written()
  t.equal(free(), 1)
})
