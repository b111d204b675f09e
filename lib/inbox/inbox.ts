import { createHash } from 'node:crypto'
import { tellReceived } from '../tracing.ts'
import type { Publish } from '../wire/decode.ts'
import { MalformedPacket, MalformedReason } from '../wire/malformed.ts'
import type { ConnectInfo, Oversize } from '../wire/tap.ts'
import { Acks, type InboxLink, type Receipt } from './acks.ts'
import { Scheduler, type Job, type Track } from './scheduler.ts'

/** What a message needs handled: the routes' jobs, and what to tell the broker when they are done. */
export interface Handling {
  /** One for each matching route; they report to `settled` of the delivery they were made for. */
  readonly jobs: readonly Job[]
  /** Acknowledge on receipt: no handler is waited for. */
  readonly ackOnReceipt: boolean
}

/** One received message until all its jobs have settled. */
export class Reception {
  readonly publish: Publish
  /** In bytes: what it counts for. Of the whole packet, since a flood of empty messages takes memory as well. */
  readonly size: number
  /** One of its jobs has begun. */
  started = false
  /** It comes again by another connection: its jobs do nothing. */
  dropped = false
  readonly #done: (reasonCode: number, handled: boolean) => void
  #open = 1
  #reasonCode = 0
  #handled = true

  constructor (publish: Publish, done: (reasonCode: number, handled: boolean) => void) {
    this.publish = publish
    this.size = publish.size
    this.#done = done
  }

  /** One job more to wait for. */
  begin (): void {
    this.#open++
  }

  /** A job has settled; a reason code of 0x80 or more tells the broker that it failed (MQTT 5). */
  settled (reasonCode: number): void {
    if (reasonCode > this.#reasonCode) this.#reasonCode = reasonCode
    if (--this.#open === 0) this.#done(this.#reasonCode, this.#handled)
  }

  /** A job was interrupted by closing: the message stays unacknowledged, so that a kept session gets it again. */
  interrupted (): void {
    this.#handled = false
    this.settled(0)
  }
}

/** Limits and order of the inbox. */
export interface InboxOptions {
  namespace?: string | undefined
  maxMessages: number
  maxBytes: number
  concurrency: number
  ackOrder: 'received' | 'handled'
  /** Takes an answer to a request of ours; true when it is for nobody else. */
  takeReply: (publish: Publish) => boolean
  /** Finds a message's routes and makes their jobs. Must not throw. */
  dispatch: (reception: Reception) => Handling
  /** A QoS 0 message was thrown away because the inbox is full. */
  onDropped: (publish: Publish) => void
  onOversize: (oversize: Oversize) => void
  /** True while the outbox waits for the broker's acknowledgements: then reading must go on. */
  outboxAwaits: () => boolean
}

/** How far over its limits the inbox may grow while reading must go on, before messages are left unacknowledged. */
const HARD_FACTOR = 2
/** With a small limit, what one read brings must not be too much. */
const HARD_MESSAGES = 1_000
/** With a large one, twice as much would be. */
const HARD_BYTES = 8 * 1024 * 1024
/** So long, in milliseconds, nothing has left the inbox: all that runs in it seems to wait for what is not read. */
const STALLED = 2_000

const EMPTY = Buffer.alloc(0)
/** The reason code for a message over `maxPayload`: PUBACK and PUBREC know no "Packet too large". */
const QUOTA_EXCEEDED = 0x97

interface Epoch {
  readonly link: InboxLink
  readonly acks: Acks
  /** What is over the limits is left in the socket, also when that holds up acknowledgements: no session would bring it again. */
  patient: boolean
  /** So many messages of it were thrown away unacknowledged: it has to end, so that a kept session brings them again. */
  thrown: number
}

/** A QoS 2 message between PUBLISH and PUBREL: remembered, so that it is handled once however often it is sent. */
interface Exchange {
  handled: boolean
  reasonCode: number
  /** Answered with a PUBREC of 0x80 or more, which ends the exchange if it arrives (MQTT 5 section 4.3.3). */
  ended: boolean
  /** Of one that has ended: the same message again is told by it from another that has its id now. */
  fingerprint: string
  /** The receipt on the connection through which it came last. */
  receipt: Receipt
  epoch: Epoch
}

/** Messages received and not yet acknowledged: limits, order, and acknowledgement after handling. */
export class Inbox {
  messages = 0
  bytes = 0
  readonly counters = { received: 0, dropped: 0, oversize: 0 }
  readonly scheduler: Scheduler
  readonly #options: InboxOptions
  readonly #exchanges = new Map<number, Exchange>()
  /** QoS 1 with jobs that wait, or did when they came. */
  readonly #waiting = new Map<Reception, readonly Job[]>()
  #epoch: Epoch | undefined
  #stopped = false
  #idle: Array<() => void> = []
  #stall: NodeJS.Timeout | undefined

  constructor (options: InboxOptions) {
    this.#options = options
    this.scheduler = new Scheduler(options.concurrency)
  }

  /** A connection is up. Without the old session, ids of QoS 2 exchanges mean other messages now. */
  attach (link: InboxLink, info: ConnectInfo): void {
    this.#epoch = { link, acks: new Acks(link, this.#options.ackOrder), patient: link.ephemeral, thrown: 0 }
    if (info.sessionPresent) this.#dropRedelivered()
    else this.#exchanges.clear()
    this.reconsider()
  }

  /**
   * What has not begun came by a connection that is gone, and can no longer be acknowledged. The kept session brings it
   * again, so it would be handled twice, and at each reconnect the inbox would grow. QoS 2 knows its own again. Where the
   * session is gone nothing comes again, so all of it is handled.
   */
  #dropRedelivered (): void {
    const tracks = new Set<Track>()
    for (const [reception, jobs] of this.#waiting) {
      if (reception.started) continue
      reception.dropped = true
      for (const { track } of jobs) tracks.add(track)
      this.#waiting.delete(reception)
      this.#leave(reception)
    }
    this.scheduler.sweep(tracks)
  }

  #leave ({ publish, size }: Reception): void {
    this.messages--
    this.bytes -= size
    publish.payload = EMPTY
    this.reconsider()
    if (this.messages === 0 && this.#idle.length > 0) for (const resolve of this.#idle.splice(0)) resolve()
  }

  detach (link: InboxLink): void {
    if (this.#epoch?.link === link) this.#epoch = undefined
  }

  receive (link: InboxLink, publish: Publish): void {
    const epoch = this.#epoch
    if (epoch === undefined || epoch.link !== link) return
    // Past all limits, and while closing too: a handler may be waiting for it.
    if (this.#options.takeReply(publish)) {
      this.counters.received++
      tellReceived(this.#options.namespace, publish, 'reply')
      if (publish.qos > 0 && epoch.thrown === 0) epoch.acks.handled(epoch.acks.expect(publish.qos, publish.packetId), 0)
      return
    }
    // While closing, what comes is left unacknowledged: a kept session gets it again. But what was handled before is known.
    if (this.#stopped && !(publish.qos === 2 && this.#repeated(publish)?.handled === true)) return
    if (publish.qos > 0 && (epoch.thrown > 0 || (!epoch.patient && this.#overflows()))) {
      // Read only for the sake of our own acknowledgements: see reconsider.
      epoch.thrown++
      return
    }
    this.counters.received++
    if (publish.qos === 0) this.#receiveOnce(publish)
    else if (publish.qos === 1) this.#receiveAcknowledged(epoch, publish)
    else this.#receiveExchange(epoch, publish)
  }

  /** A message that is too large to be read is acknowledged, or it would come again for ever. */
  oversize (link: InboxLink, oversize: Oversize): void {
    const epoch = this.#epoch
    if (epoch === undefined || epoch.link !== link || this.#stopped) return
    this.counters.received++
    this.counters.oversize++
    tellReceived(this.#options.namespace, oversize.publish, 'oversize', oversize.bytes)
    const { qos, packetId } = oversize.publish
    if (qos > 0) {
      const receipt = epoch.acks.expect(qos, packetId)
      // On MQTT 5 this code ends the exchange; 3.1.1 has none, and goes on with PUBREL.
      if (qos === 2 && link.version < 5) this.#exchanges.set(packetId, { handled: true, reasonCode: 0, ended: false, fingerprint: '', receipt, epoch })
      epoch.acks.handled(receipt, QUOTA_EXCEEDED)
    }
    this.#options.onOversize(oversize)
  }

  /** PUBREL. */
  release (link: InboxLink, packetId: number): void {
    const epoch = this.#epoch
    if (epoch === undefined || epoch.link !== link) return
    const exchange = this.#exchanges.get(packetId)
    if (exchange !== undefined && !exchange.handled) {
      throw new MalformedPacket('PUBREL came before PUBREC was sent', MalformedReason.PROTOCOL_ERROR)
    }
    this.#exchanges.delete(packetId)
    // An unknown id is one that was completed before: the broker did not see PUBCOMP.
    epoch.acks.complete(packetId, 0)
  }

  /** Takes nothing more in. */
  stop (): void {
    this.#stopped = true
    this.#epoch?.link.unhold()
  }

  /** Starts no handler any more; what has not been handled is not acknowledged. */
  end (): void {
    this.scheduler.stop()
  }

  /** Acknowledges whatever has been handled, also behind what has not; nothing is after that. */
  finish (): void {
    this.#epoch?.acks.finish()
    this.#epoch = undefined
  }

  /** Resolves when no handler runs. */
  quiet (): Promise<void> {
    return this.scheduler.quiet()
  }

  /** Resolves when no handler runs or waits. */
  idle (): Promise<void> {
    if (this.messages === 0) return Promise.resolve()
    return new Promise(resolve => { this.#idle.push(resolve) })
  }

  /** Whether the socket is read depends on the inbox and on the outbox; called when either has changed. */
  reconsider (): void {
    const epoch = this.#epoch
    if (epoch === undefined || this.#stopped) return
    const { link } = epoch
    const awaits = this.#options.outboxAwaits()
    // What was thrown away comes again on the next connection, as soon as there is room for it.
    if (epoch.thrown > 0 && !this.#fuller(0.75)) {
      this.#end(epoch)
      return
    }
    // A stall that is over, and has cost nothing, was one of its own.
    if (!epoch.patient && epoch.thrown === 0 && !this.#fuller(0.75)) epoch.patient = link.ephemeral
    // Our own acknowledgements come behind the messages, and a handler may be waiting for one: then reading goes on.
    if (awaits ? epoch.patient && this.#overflows() : this.#fuller(1)) {
      link.hold()
      if (awaits) this.#watch(epoch)
    } else if (awaits || !this.#fuller(0.75)) link.unhold()
  }

  /**
   * The socket is not read although the answers to our own publishes come through it: most handlers end without one, and
   * make room. Where none does, they may all be waiting for those, and the messages that are in the way have to go.
   */
  #watch (epoch: Epoch): void {
    if (this.#stall !== undefined) return
    const left = this.#left
    this.#stall = setTimeout(() => {
      this.#stall = undefined
      if (this.#epoch === epoch && this.#left === left && this.#overflows() && this.#options.outboxAwaits()) epoch.patient = false
      this.reconsider()
    }, STALLED).unref()
  }

  /** How many messages are not in the inbox any more, or never were. */
  get #left (): number {
    return this.counters.received - this.messages
  }

  #fuller (factor: number): boolean {
    return this.messages >= this.#options.maxMessages * factor || this.bytes >= this.#options.maxBytes * factor
  }

  #overflows (): boolean {
    const { maxMessages, maxBytes } = this.#options
    return this.bytes >= maxBytes + Math.min(maxBytes, HARD_BYTES) || this.messages >= Math.max(maxMessages * HARD_FACTOR, maxMessages + HARD_MESSAGES)
  }

  /** Ends a connection behind the acknowledgements that are due on it. */
  #end (epoch: Epoch): void {
    if (this.#epoch !== epoch) return
    this.#epoch = undefined
    const { link, thrown } = epoch
    const fate = link.ephemeral ? `${thrown} messages or more are lost, as no session is kept` : 'what was not acknowledged is sent again'
    setImmediate(() => link.disconnect(new Error(`The inbox was full and the broker went on sending: ${fate}`)))
  }

  #receiveOnce (publish: Publish): void {
    if (this.#fuller(1)) {
      this.counters.dropped++
      tellReceived(this.#options.namespace, publish, 'dropped')
      this.#options.onDropped(publish)
      return
    }
    this.#handle(publish, noop, undefined)
  }

  #receiveAcknowledged (epoch: Epoch, publish: Publish): void {
    const receipt = epoch.acks.expect(1, publish.packetId)
    this.#handle(publish, reasonCode => epoch.acks.handled(receipt, reasonCode), undefined)
  }

  #receiveExchange (epoch: Epoch, publish: Publish): void {
    const known = this.#repeated(publish)
    // Said twice on one connection: the answer to the first serves both.
    if (known?.epoch === epoch && !known.receipt.handled) {
      tellReceived(this.#options.namespace, publish, 'repeated')
      return
    }
    const receipt = epoch.acks.expect(2, publish.packetId)
    if (known !== undefined) {
      tellReceived(this.#options.namespace, publish, 'repeated')
      known.receipt = receipt
      known.epoch = epoch
      if (known.handled) epoch.acks.handled(receipt, known.reasonCode)
      return
    }
    const exchange: Exchange = { handled: false, reasonCode: 0, ended: false, fingerprint: '', receipt, epoch }
    this.#exchanges.set(publish.packetId, exchange)
    this.#handle(publish, reasonCode => {
      exchange.handled = true
      exchange.reasonCode = reasonCode
      if (reasonCode >= 0x80 && exchange.epoch.link.version === 5) {
        // Kept all the same: if the PUBREC is lost with its connection, the message comes again, flagged DUP.
        exchange.ended = true
        // Not when it came, since few end so. If a handler has changed the bytes in place, the message is taken for another
        // and handled again, which is better than to lose another for it.
        exchange.fingerprint = fingerprintOf(publish)
      }
      exchange.epoch.acks.handled(exchange.receipt, reasonCode)
    }, exchange)
  }

  /**
   * The exchange of a QoS 2 message that has come before. Once the broker has seen the PUBREC that ended one, its id is
   * free, and the message that has it then may come flagged DUP as well, when its first connection was lost.
   */
  #repeated (publish: Publish): Exchange | undefined {
    const known = this.#exchanges.get(publish.packetId)
    if (known === undefined || !known.ended) return known
    return publish.dup && known.fingerprint === fingerprintOf(publish) ? known : undefined
  }

  #handle (publish: Publish, acknowledge: (reasonCode: number) => void, exchange: Exchange | undefined): void {
    tellReceived(this.#options.namespace, publish, 'accepted')
    let early = false
    const reception = new Reception(publish, (reasonCode, handled) => {
      if (handled && !early) acknowledge(reasonCode)
      this.#waiting.delete(reception)
      this.#leave(reception)
    })
    this.messages++
    this.bytes += reception.size
    const { jobs, ackOnReceipt } = this.#options.dispatch(reception)
    if (ackOnReceipt && (exchange === undefined || !exchange.handled)) {
      early = true
      acknowledge(0)
    }
    for (let i = 0; i < jobs.length; i++) {
      reception.begin()
      this.scheduler.add(jobs[i]!)
    }
    if (publish.qos === 1 && !early && !reception.started && jobs.length > 0) this.#waiting.set(reception, jobs)
    reception.settled(0)
    if (this.#fuller(1)) this.reconsider()
  }
}

function fingerprintOf ({ topic, payload }: Publish): string {
  return createHash('sha256').update(topic).update('\0').update(payload).digest('base64')
}

function noop (): void {}
