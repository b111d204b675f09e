import { PacketType, type ProtocolVersion, type QoS } from '../wire/packet.ts'
import type { Frame } from '../wire/encode.ts'
import type { ConnectInfo } from '../wire/tap.ts'
import { Deadlines } from './deadlines.ts'
import type { Delivery } from './delivery.ts'
import { CLOSED, closed, heldTooLong, poisonous, sessionLost, timedOut, unaccepted, unfit, withMaybeSent } from './failures.ts'
import { Gather } from './gather.ts'
import { Inflight, pubrel } from './inflight.ts'
import type { Lease } from './lease.ts'
import { RoundRobin } from './round-robin.ts'
import { Source } from './source.ts'

/** Limits of the outbox. */
export interface OutboxOptions {
  /** Publishes accepted and not yet settled. */
  maxMessages: number
  /** Their bytes, as encoded. */
  maxBytes: number
  /** QoS 1 and 2 publishes at the broker at once; the broker's Receive Maximum lowers it. */
  inflight: number
  /** There never is a connection: what is published counts as confirmed (option `connect: false`). */
  discard?: boolean
}

/** What the outbox needs of a connection; a Tap is one. */
export interface OutboxLink {
  readonly ready: boolean
  send (packets: readonly Buffer[], done?: () => void): void
}

/** Handed to the socket at once; what is more waits for it to drain, so that it stays countable and replayable. */
const WRITE_BYTES = 256 * 1024

/**
 * Publishes accepted and not yet settled. It holds encoded frames, so its limit in bytes is exact, keeps the order of
 * each source, keeps to the broker's window, and sends what is unconfirmed again after a reconnect.
 * docs/internals.md has the table of a delivery's states.
 */
export class Outbox {
  messages = 0
  bytes = 0
  /** Of the messages: those in their onPublish hooks. */
  holding = 0
  /** Of the messages: those whose callers have their answer, while the exchange with the broker goes on. */
  #abandoned = 0
  readonly counters = { published: 0, refused: 0 }
  /** Called when the broker's acknowledgements begin or cease to be awaited; see Inbox. */
  onAwaiting: () => void = () => {}
  /** Called when properties are dropped, since the connection turned out to be one of 3.1.1. */
  onUnsendable: () => void = () => {}
  readonly #options: OutboxOptions
  readonly #queued = new RoundRobin()
  /** In their hooks, without a place in a queue. */
  readonly #aside = new Set<Delivery>()
  /** QoS 0 in the socket's hands. */
  readonly #writing = new Set<readonly Delivery[]>()
  readonly #inflight: Inflight
  readonly #deadlines = new Deadlines(now => this.#sweep(now))
  #link: OutboxLink | undefined
  #info: ConnectInfo | undefined
  #awaited = false
  #pumpScheduled = false
  #closed = false
  #idle: Array<() => void> = []

  constructor (options: OutboxOptions) {
    this.#options = options
    this.#inflight = new Inflight(options.inflight, () => this.#schedulePump())
  }

  /** A new publisher. Workers have a limit of their own, and a window in which their QoS 0 is always taken. */
  createSource (name: string, worker?: { maxBytes: number, window: number, threadId: number }): Source {
    return new Source(name, worker)
  }

  /** QoS 1 and 2 publishes that the broker may know of. */
  get inflight (): number {
    return this.#inflight.size
  }

  /** True while an acknowledgement of the broker is needed to go on. */
  get awaiting (): boolean {
    return this.#inflight.awaiting
  }

  /** True while there is a connection. */
  get attached (): boolean {
    return this.#link !== undefined
  }

  /** What the broker allows, as far as it is known. */
  get info (): ConnectInfo | undefined {
    return this.#info
  }

  /** Why so much more cannot be taken in, if so: the same text for as long as nothing changes. */
  refusal (source: Source, qos: QoS, messages: number, bytes: number): string | undefined {
    if (this.#closed) return CLOSED
    if (qos === 0 && source.covers(bytes)) return undefined
    const { maxMessages, maxBytes } = this.#options
    if (this.messages + messages > maxMessages) return `The outbox holds ${this.messages} messages (outbox.maxMessages is ${maxMessages})`
    if (this.bytes + bytes > maxBytes) return `The outbox holds ${this.bytes} bytes (outbox.maxBytes is ${maxBytes})`
    if (source.bytes + bytes > source.maxBytes) return `${source.name} has ${source.bytes} bytes unconfirmed (at most ${source.maxBytes})`
    return source.threadId === undefined ? undefined : this.#unfair(source, messages, bytes)
  }

  /** A worker may have twice as much as is free: so there is always something left for the next one, however many they are. */
  #unfair (source: Source, messages: number, bytes: number): string | undefined {
    const { maxMessages, maxBytes } = this.#options
    if (messages > 0 && source.messages + messages > 2 * (maxMessages - this.messages)) {
      return `${source.name} has ${source.messages} messages unconfirmed, and the rest of outbox.maxMessages (${maxMessages}) is for others`
    }
    if (bytes > 0 && source.bytes + bytes > 2 * (maxBytes - this.bytes)) {
      return `${source.name} has ${source.bytes} bytes unconfirmed, and the rest of outbox.maxBytes (${maxBytes}) is for others`
    }
    return undefined
  }

  /** Takes a delivery in, and the memory that it lies in. It always settles, here or later; one that is not taken settles before this returns. */
  add (source: Source, delivery: Delivery, lease?: Lease): void {
    if (!this.#admits(source, delivery)) return
    // Behind one that is in its hooks it waits, as it would with a connection.
    if (this.#options.discard === true && source.queue.length === 0) {
      this.counters.published += delivery.messages
      delivery.state = 'settled'
      delivery.settle(delivery, null, 0)
      return
    }
    lease?.hold()
    delivery.lease = lease
    this.#accept(source, delivery)
    this.#queued.push(source, delivery)
    this.#schedulePump()
  }

  /**
   * Takes in one that is still in its onPublish hooks: it keeps its place in the order of its source, or has none with
   * `aside`. Its bytes are those that it has so far, for the limits; `release` brings what is sent.
   */
  hold (source: Source, delivery: Delivery, aside = false): void {
    if (!this.#admits(source, delivery)) return
    delivery.state = 'held'
    this.holding++
    this.#accept(source, delivery)
    if (aside) this.#aside.add(delivery)
    else this.#queued.push(source, delivery)
  }

  /** Its hooks are done. Returns false when it is not taken: it has settled, then or now. */
  release (source: Source, delivery: Delivery, frame: Frame, version: ProtocolVersion, qos: QoS): boolean {
    if (delivery.state !== 'held') return false
    const growth = frame.end - frame.start - delivery.bytes
    const refusal = growth > 0 ? this.refusal(source, qos, 0, growth) : undefined
    if (refusal !== undefined) {
      this.#settle(delivery, unaccepted(refusal), 0)
      return false
    }
    this.holding--
    delivery.fill(frame, version, qos)
    delivery.state = 'queued'
    this.#count(source, 0, growth)
    if (this.#aside.delete(delivery)) this.#queued.push(source, delivery)
    this.#goOn()
    return true
  }

  /**
   * Adds one more QoS 0 frame to a run that is still queued; `end` is where the frame ends, right behind the run.
   * Returns false when the limits do not allow it.
   */
  extend (source: Source, run: Delivery, end: number): boolean {
    const bytes = end - run.end
    if (this.refusal(source, 0, 1, bytes) !== undefined) return false
    run.end = end
    run.messages++
    if (bytes > run.largest) run.largest = bytes
    this.#count(source, 1, bytes)
    return true
  }

  /** Answers the caller now. What is queued is dropped; what the broker may have is followed to its end without them. */
  abandon (delivery: Delivery, error: Error): void {
    if (delivery.state === 'settled' || delivery.abandoned) return
    if (delivery.state !== 'sent' && delivery.state !== 'released') {
      this.#settle(delivery, error, 0)
      return
    }
    delivery.abandoned = true
    this.#abandoned++
    this.counters.refused++
    delivery.settle(delivery, withMaybeSent(error, true), 0)
    this.#tellDrained()
  }

  #admits (source: Source, delivery: Delivery): boolean {
    const refusal = this.refusal(source, delivery.qos, delivery.messages, delivery.bytes)
    if (refusal === undefined) return true
    this.counters.refused += delivery.messages
    delivery.state = 'settled'
    delivery.settle(delivery, unaccepted(refusal), 0)
    return false
  }

  #accept (source: Source, delivery: Delivery): void {
    delivery.account = source
    this.#count(source, delivery.messages, delivery.bytes)
    if (delivery.deadline !== Infinity) this.#deadlines.watch(delivery.deadline)
  }

  /** What waited behind one in its hooks may go. */
  #goOn (): void {
    if (this.#options.discard !== true) this.#schedulePump()
    else if (!this.#closed) this.#queued.serve(Infinity, () => true, delivery => this.#discard(delivery))
  }

  #discard (delivery: Delivery): boolean {
    delivery.state = 'writing'
    this.#settle(delivery, null, 0)
    return true
  }

  /** A connection is up. What the last one left unconfirmed goes out again first, in order. */
  attach (link: OutboxLink, info: ConnectInfo): void {
    this.#link = link
    this.#info = info
    for (const delivery of this.#inflight.attach(info)) this.#settle(delivery, sessionLost(), 0)
    this.#pump()
  }

  /** The connection is gone; `hungUp` when it was not us who ended it. For `redelivered` see `Suspects`. */
  detach (link: OutboxLink, hungUp = false, redelivered = 0): void {
    if (this.#link !== link) return
    this.#link = undefined
    // QoS 0 that was in the socket's hands is over, whatever became of it; resending could deliver it twice.
    for (const batch of this.#writing) this.#written(batch)
    const poison = this.#inflight.detach(hungUp, redelivered)
    if (poison !== undefined) this.#settle(poison, poisonous(), 0, true)
    this.#reconsider()
  }

  /** PUBACK, PUBREC or PUBCOMP for one of our ids. */
  acknowledge (link: OutboxLink, type: number, id: number, reasonCode: number): void {
    if (this.#link !== link) return
    const delivery = this.#inflight.get(id)
    if (delivery !== undefined) {
      const verdict = this.#inflight.acknowledge(delivery, type, reasonCode)
      if (!verdict.settled) {
        link.send([pubrel(id)])
        // Behind a first answer more may go than before.
        this.#schedulePump()
        return
      }
      this.#settle(delivery, verdict.error, verdict.reasonCode)
      this.#inflight.endDoubt()
    } else if (type !== PacketType.PUBCOMP || !this.#inflight.cleared(id)) {
      // Settled before: a second answer to a replay.
      return
    }
    this.#reconsider()
    this.#schedulePump()
  }

  /** The socket has room again. */
  drain (link: OutboxLink): void {
    if (this.#link === link) this.#pump()
  }

  /** Resolves when everything that somebody waits for has settled. */
  drained (): Promise<void> {
    if (this.messages === this.#abandoned) return Promise.resolve()
    return new Promise(resolve => { this.#idle.push(resolve) })
  }

  /** Settles whatever is left and takes nothing more. */
  close (): void {
    if (this.#closed) return
    this.#closed = true
    this.#link = undefined
    this.#deadlines.stop()
    for (const batch of this.#writing) this.#written(batch)
    for (const delivery of this.#inflight) this.#settle(delivery, closed(), 0)
    for (const delivery of [...this.#aside, ...this.#queued]) this.#settle(delivery, closed(), 0)
  }

  #schedulePump (): void {
    if (this.#pumpScheduled || this.#link === undefined) return
    this.#pumpScheduled = true
    // One write for all that is published in a turn.
    queueMicrotask(() => {
      this.#pumpScheduled = false
      this.#pump()
    })
  }

  /** Hands on all that the window and the socket have room for. */
  #pump (): void {
    const link = this.#link
    if (link === undefined || !link.ready) return
    const gather = new Gather()
    const zero: Delivery[] = []
    this.#inflight.resend(gather, delivery => this.#prepare(delivery), (delivery, error) => this.#settle(delivery, error, 0, true))
    if (!this.#inflight.replaying) {
      this.#queued.serve(WRITE_BYTES, ({ qos }) => this.#inflight.fits(qos), delivery => this.#send(delivery, gather, zero))
      this.#inflight.clear(gather)
    }
    this.#reconsider()
    const packets = gather.take()
    if (packets.length === 0) return
    const { leases } = gather
    if (zero.length === 0 && leases.length === 0) {
      link.send(packets)
    } else {
      this.#writing.add(zero)
      link.send(packets, () => {
        this.#written(zero)
        for (const lease of leases) lease.release()
      })
    }
    // With room left in the socket, go on at once; otherwise when it has drained, or the window opens.
    if (!this.#queued.empty && link.ready) this.#schedulePump()
  }

  /** Returns false when it cannot be sent on this connection, and has settled. */
  #send (delivery: Delivery, gather: Gather, zero: Delivery[]): boolean {
    delivery.state = delivery.qos === 0 ? 'writing' : 'sent'
    const error = this.#prepare(delivery)
    if (error !== undefined) {
      this.#settle(delivery, error, 0)
      return false
    }
    delivery.maybeSent = true
    if (delivery.qos === 0) zero.push(delivery)
    else this.#inflight.send(delivery)
    gather.frame(delivery)
    return true
  }

  /** Brings it into the layout of this connection; returns why it cannot be sent here, if so. */
  #prepare (delivery: Delivery): Error | undefined {
    const before = delivery.bytes
    try {
      delivery.adapt(this.#info!.version, () => this.onUnsendable())
    } catch (error) {
      return error as Error
    }
    this.#count(delivery.account, 0, delivery.bytes - before)
    return unfit(delivery, this.#info!)
  }

  /** Tells when acknowledgements have begun or ceased to be awaited. */
  #reconsider (): void {
    if (this.#awaited === this.awaiting) return
    this.#awaited = this.awaiting
    this.onAwaiting()
  }

  #count (account: Delivery['account'], messages: number, bytes: number): void {
    this.messages += messages
    this.bytes += bytes
    if (account === undefined) return
    account.messages += messages
    account.bytes += bytes
  }

  #written (batch: readonly Delivery[]): void {
    if (!this.#writing.delete(batch)) return
    for (const delivery of batch) this.#settle(delivery, null, 0)
  }

  /** `unanswered`: the broker may know of it, and has not said how it ended. */
  #settle (delivery: Delivery, error: Error | null, reasonCode: number, unanswered = false): void {
    if (delivery.state === 'settled') return
    if (delivery.packetId !== 0) this.#inflight.remove(delivery, unanswered)
    const held = delivery.state === 'held'
    const queued = held ? !this.#aside.delete(delivery) : delivery.state === 'queued'
    delivery.state = 'settled'
    this.#count(delivery.account, -delivery.messages, -delivery.bytes)
    if (queued) delivery.account?.gaveUp()
    if (held) {
      this.holding--
      this.#goOn()
    }
    if (delivery.abandoned) {
      this.#abandoned--
    } else {
      this.counters[error === null ? 'published' : 'refused'] += delivery.messages
      delivery.settle(delivery, error === null ? null : withMaybeSent(error, delivery.maybeSent), reasonCode)
    }
    delivery.lease?.release()
    this.#tellDrained()
  }

  #tellDrained (): void {
    if (this.messages === this.#abandoned) for (const resolve of this.#idle.splice(0)) resolve()
  }

  #sweep (now: number): number {
    const overdue: Delivery[] = []
    let next = Infinity
    const visit = (delivery: Delivery): void => {
      if (delivery.state === 'settled' || delivery.abandoned) return
      if (delivery.deadline > now) next = Math.min(next, delivery.deadline)
      else overdue.push(delivery)
    }
    for (const delivery of this.#inflight) visit(delivery)
    for (const batch of this.#writing) batch.forEach(visit)
    for (const delivery of this.#aside) visit(delivery)
    for (const delivery of this.#queued) visit(delivery)
    for (const delivery of overdue) this.abandon(delivery, delivery.state === 'held' ? heldTooLong() : timedOut())
    return next
  }
}
