import {
  FST_MQTT_CLOSED, FST_MQTT_OUTBOX_FULL, FST_MQTT_PAYLOAD, FST_MQTT_POISON, FST_MQTT_PROPERTY,
  FST_MQTT_PUBLISH_REFUSED, FST_MQTT_SESSION_LOST, FST_MQTT_TIMEOUT, type MqttError
} from '../errors.ts'
import { encodeAck } from '../wire/acks.ts'
import { setDup, setPacketId, type Frame } from '../wire/encode.ts'
import { MalformedPacket, MalformedReason } from '../wire/malformed.ts'
import { PacketType, reasonName, type ProtocolVersion } from '../wire/packet.ts'
import { readFrame, rewriteFrame } from '../wire/rewrite.ts'
import { FIRST_OWN_ID, type ConnectInfo } from '../wire/tap.ts'
import { Deadlines } from './deadlines.ts'
import type { Delivery } from './delivery.ts'
import { PacketIds } from './packet-ids.ts'
import { Source } from './source.ts'

/** Limits of the outbox (contract section 2). */
export interface OutboxOptions {
  /** Publishes accepted and not yet settled. */
  maxMessages: number
  /** Their bytes, as encoded. */
  maxBytes: number
  /** QoS 1 and 2 publishes at the broker at once; the broker's Receive Maximum lowers it. */
  inflight: number
}

/** What the outbox needs of a connection; a Tap is one. */
export interface OutboxLink {
  readonly ready: boolean
  send (packets: readonly Buffer[], done?: () => void): void
  destroy (error?: Error): unknown
}

/** What a source may send before the next one has its turn. */
const TURN_BYTES = 16 * 1024
/** This many connections in a row that die on the same publish make it poison. */
const POISON_AFTER = 3
/**
 * Before MQTT 5 a broker cannot tell its Receive Maximum. mosquitto allows 20 by default; while a 3.1.1 client has as
 * many QoS 2 publishes open, it ends the connection at the next one of either QoS (2.0.11 with max_queued_messages 0).
 */
const QOS2_WINDOW_BEFORE_V5 = 10
/** mosquitto, the spec and common sense agree that the ids of one client do not all have to be in flight. */
const MAX_WINDOW = 0x10000 - FIRST_OWN_ID - 1

/**
 * Publishes accepted and not yet settled. It holds encoded frames, so its limit in bytes is exact, keeps the order of
 * each source, keeps to the broker's window, and sends what is unconfirmed again after a reconnect.
 */
export class Outbox {
  messages = 0
  bytes = 0
  readonly counters = { published: 0, refused: 0 }
  readonly #options: OutboxOptions
  readonly #ids = new PacketIds()
  readonly #deadlines = new Deadlines(now => this.#sweep(now))
  /** QoS 1 and 2 that the broker may know of, in the order first sent. */
  readonly #inflight = new Map<number, Delivery>()
  /** QoS 0 in the socket's hands. */
  readonly #writing = new Set<readonly Delivery[]>()
  /** Sources that have something queued, and whose turn it is. */
  #active: Source[] = []
  #turn = 0
  #link: OutboxLink | undefined
  #info: ConnectInfo | undefined
  /** What is to be sent again on this connection before anything new. */
  #replay: Delivery[] = []
  /** QoS 1 and 2 written on this connection and not yet done. */
  #outstanding = 0
  #window = 0
  /** Of those, QoS 2. */
  #outstanding2 = 0
  #window2 = 0
  #pumpScheduled = false
  #closed: Error | undefined
  #idle: Array<() => void> = []
  /** Called when the broker's acknowledgements begin or cease to be awaited; see Inbox. */
  onAwaiting: () => void = () => {}

  constructor (options: OutboxOptions) {
    this.#options = options
  }

  /** A new publisher. Workers get a limit of their own. */
  createSource (name: string, maxBytes = Infinity): Source {
    return new Source(name, maxBytes)
  }

  /** QoS 1 and 2 publishes that the broker may know of. */
  get inflight (): number {
    return this.#inflight.size
  }

  /** True while an acknowledgement of the broker is needed to go on. */
  get awaiting (): boolean {
    return this.#outstanding > 0
  }

  /** What the broker allows, as far as it is known. */
  get info (): ConnectInfo | undefined {
    return this.#info
  }

  /**
   * Takes a delivery in. It always settles, here or later; a delivery that is not taken settles before this returns.
   */
  add (source: Source, delivery: Delivery): void {
    const { bytes } = delivery
    const error = this.#refusal(source, delivery.messages, bytes)
    if (error !== undefined) {
      this.counters.refused += delivery.messages
      delivery.state = 'settled'
      delivery.settle(delivery, error, 0)
      return
    }
    this.messages += delivery.messages
    this.bytes += bytes
    source.messages += delivery.messages
    source.bytes += bytes
    delivery.source = source
    if (source.queue.length === 0) this.#active.push(source)
    source.queue.push(delivery)
    if (delivery.deadline !== Infinity) this.#deadlines.watch(delivery.deadline)
    this.#schedulePump()
  }

  /**
   * Adds one more QoS 0 frame to a run that is still queued; `end` is where the frame ends, right behind the run.
   * Returns false when the limits do not allow it.
   */
  extend (source: Source, run: Delivery, end: number): boolean {
    const bytes = end - run.end
    if (this.#refusal(source, 1, bytes) !== undefined) return false
    run.end = end
    run.messages++
    if (bytes > run.largest) run.largest = bytes
    this.messages++
    this.bytes += bytes
    source.messages++
    source.bytes += bytes
    return true
  }

  /** Answers the caller now. What is queued is dropped; what the broker may have is followed to its end without them. */
  abandon (delivery: Delivery, error: Error): void {
    if (delivery.state === 'settled' || delivery.abandoned) return
    if (delivery.state === 'sent' || delivery.state === 'released') {
      delivery.abandoned = true
      this.counters.refused++
      delivery.settle(delivery, withMaybeSent(error, true), 0)
      return
    }
    this.#settle(delivery, error, 0)
  }

  /** A connection is up. What the last one left unconfirmed goes out again first, in order. */
  attach (link: OutboxLink, info: ConnectInfo): void {
    this.#link = link
    this.#info = info
    this.#window = Math.min(this.#options.inflight, info.receiveMaximum, MAX_WINDOW)
    this.#window2 = info.version < 5 ? Math.min(this.#window, QOS2_WINDOW_BEFORE_V5) : this.#window
    this.#outstanding = 0
    this.#outstanding2 = 0
    this.#replay = []
    for (const delivery of this.#inflight.values()) {
      if (!info.sessionPresent && delivery.abandoned) {
        this.#settle(delivery, null, 0)
      } else if (!info.sessionPresent && delivery.state === 'released') {
        // The broker had it and has forgotten it: whether it was delivered, nobody can tell, so it is not sent twice.
        this.#settle(delivery, FST_MQTT_SESSION_LOST('The broker lost the session between PUBREC and PUBCOMP; publish again if receiving twice does no harm'), 0)
      } else {
        this.#replay.push(delivery)
      }
    }
    this.#pump()
  }

  /** The connection is gone. */
  detach (link: OutboxLink): void {
    if (this.#link !== link) return
    this.#link = undefined
    // QoS 0 that was in the socket's hands is over, whatever became of it; resending could deliver it twice.
    for (const batch of this.#writing) this.#written(batch)
    this.#outstanding = 0
    this.#blameHead()
    this.onAwaiting()
  }

  /** PUBACK, PUBREC or PUBCOMP for one of our ids. */
  acknowledge (link: OutboxLink, type: number, id: number, reasonCode: number): void {
    const delivery = this.#inflight.get(id)
    // An id that is not in flight was settled before: an answer to a replay.
    if (delivery === undefined || this.#link !== link) return
    if (type === PacketType.PUBACK ? delivery.qos !== 1 : delivery.qos !== 2) {
      throw new MalformedPacket('An acknowledgement does not fit the QoS of its PUBLISH', MalformedReason.PROTOCOL_ERROR)
    }
    if (type === PacketType.PUBREC && reasonCode < 0x80) {
      delivery.state = 'released'
      delivery.failures = 0
      link.send([release(delivery)])
      return
    }
    this.#outstanding--
    if (delivery.qos === 2) this.#outstanding2--
    if (reasonCode < 0x80) this.#settle(delivery, null, reasonCode)
    else if (type === PacketType.PUBCOMP) this.#settle(delivery, sessionLost(reasonCode), 0)
    else this.#settle(delivery, refused(reasonCode), 0)
    if (this.#outstanding === 0) this.onAwaiting()
    this.#schedulePump()
  }

  /** The socket has room again. */
  drain (link: OutboxLink): void {
    if (this.#link === link) this.#pump()
  }

  /** Resolves when everything accepted has settled. */
  drained (): Promise<void> {
    if (this.messages === 0) return Promise.resolve()
    return new Promise(resolve => { this.#idle.push(resolve) })
  }

  /** Settles whatever is left and takes nothing more. */
  close (): void {
    if (this.#closed !== undefined) return
    this.#closed = FST_MQTT_CLOSED('The application has closed; this publish was not confirmed')
    this.#deadlines.stop()
    for (const batch of this.#writing) this.#written(batch)
    for (const delivery of this.#inflight.values()) this.#settle(delivery, closedError(), 0)
    for (const source of this.#active) {
      for (const delivery of source.queue) this.#settle(delivery, closedError(), 0)
    }
    this.#active = []
    this.#link = undefined
  }

  #refusal (source: Source, messages: number, bytes: number): Error | undefined {
    if (this.#closed !== undefined) return withMaybeSent(closedError(), false)
    const { maxMessages, maxBytes } = this.#options
    if (this.messages + messages > maxMessages) {
      return full(`The outbox holds ${this.messages} messages (outbox.maxMessages is ${maxMessages})`)
    }
    if (this.bytes + bytes > maxBytes) {
      return full(`The outbox holds ${this.bytes} bytes (outbox.maxBytes is ${maxBytes})`)
    }
    if (source.bytes + bytes > source.maxBytes) {
      return full(`${source.name} has ${source.bytes} bytes unconfirmed (at most ${source.maxBytes})`)
    }
    return undefined
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
    const packets: Buffer[] = []
    const zero: Delivery[] = []
    const run = new Run(packets)
    this.#pumpReplay(run)
    if (this.#replay.length === 0) this.#pumpSources(run, zero)
    run.close()
    if (packets.length === 0) return
    if (zero.length === 0) {
      link.send(packets)
    } else {
      this.#writing.add(zero)
      link.send(packets, () => this.#written(zero))
    }
    // What is left goes out when the socket has drained or the window opens; but with room in both, go on at once.
    if (this.#active.length > 0 && link.ready) this.#schedulePump()
  }

  #pumpReplay (run: Run): void {
    let sent = 0
    while (sent < this.#replay.length && this.#fits(this.#replay[sent]!)) {
      const delivery = this.#replay[sent++]!
      if (delivery.state === 'settled') continue
      this.#open(delivery)
      if (delivery.state === 'released') {
        run.packet(release(delivery))
        continue
      }
      this.#adapt(delivery)
      setDup(delivery.buffer, delivery.start)
      run.frame(delivery)
    }
    this.#replay = sent === this.#replay.length ? [] : this.#replay.slice(sent)
  }

  /** Deficit round robin: each source in turn sends what its credit allows, so none can starve another. */
  #pumpSources (run: Run, zero: Delivery[]): void {
    let blocked = 0
    let bytes = 0
    while (this.#active.length > 0 && blocked < this.#active.length && bytes < 256 * 1024) {
      if (this.#turn >= this.#active.length) this.#turn = 0
      const source = this.#active[this.#turn]!
      const { queue } = source
      source.credit += TURN_BYTES
      let moved = false
      for (let delivery = queue.first; delivery !== undefined && source.credit > 0; delivery = queue.first) {
        if (delivery.state === 'queued') {
          if (!this.#fits(delivery)) break
          source.credit -= delivery.bytes
          bytes += delivery.bytes
          this.#dispatch(delivery, run, zero)
        }
        queue.shift()
        moved = true
      }
      if (queue.length === 0) {
        source.credit = 0
        this.#active.splice(this.#turn, 1)
      } else {
        this.#turn++
      }
      // A source that the window holds back saves nothing up for later.
      if (!moved) { source.credit = 0; blocked++ } else blocked = 0
    }
  }

  #dispatch (delivery: Delivery, run: Run, zero: Delivery[]): void {
    this.#adapt(delivery)
    const unfit = this.#unfit(delivery)
    if (unfit !== undefined) {
      this.#settle(delivery, unfit, 0)
      return
    }
    delivery.maybeSent = true
    if (delivery.qos === 0) {
      delivery.state = 'writing'
      zero.push(delivery)
    } else {
      const id = this.#ids.allocate()
      delivery.packetId = id
      setPacketId(delivery.buffer, delivery.start, id)
      delivery.state = 'sent'
      this.#inflight.set(id, delivery)
      this.#open(delivery)
    }
    run.frame(delivery)
  }

  /** Whether the broker's window has room for it. */
  #fits ({ qos }: Delivery): boolean {
    if (qos === 0) return true
    return this.#outstanding < this.#window && (qos === 1 || this.#outstanding2 < this.#window2)
  }

  #open ({ qos }: Delivery): void {
    if (qos === 2) this.#outstanding2++
    if (this.#outstanding++ === 0) this.onAwaiting()
  }

  /** Brings the bytes into the layout of the connection's version, where that was not known when they were made. */
  #adapt (delivery: Delivery): void {
    const to = this.#info!.version
    if (delivery.version === to || (delivery.version < 5 && to < 5)) return
    const before = delivery.bytes
    const frames = rewriteRun(delivery, to)
    delivery.buffer = frames.buffer
    delivery.start = frames.start
    delivery.end = frames.end
    delivery.version = to
    const grown = delivery.bytes - before
    this.bytes += grown
    if (delivery.source !== undefined) delivery.source.bytes += grown
  }

  /** The broker's limits, known from CONNACK: checked before a byte is sent, because a broker answers by hanging up. */
  #unfit (delivery: Delivery): Error | undefined {
    const { maximumPacketSize, maximumQoS, retainAvailable } = this.#info!
    if (delivery.largest > maximumPacketSize) {
      return FST_MQTT_PAYLOAD(`The packet has ${delivery.largest} bytes, and the broker takes ${maximumPacketSize} at most`)
    }
    if (delivery.qos > maximumQoS) return FST_MQTT_PROPERTY(`qos: the broker takes ${maximumQoS} at most`)
    if (!retainAvailable && (delivery.buffer[delivery.start]! & 1) === 1) {
      return FST_MQTT_PROPERTY('retain: the broker does not keep retained messages')
    }
    return undefined
  }

  #written (batch: readonly Delivery[]): void {
    if (!this.#writing.delete(batch)) return
    for (const delivery of batch) this.#settle(delivery, null, 0)
  }

  #blameHead (): void {
    const [head] = this.#inflight.values()
    if (head === undefined || ++head.failures < POISON_AFTER) return
    this.#settle(head, FST_MQTT_POISON(`The broker hung up ${POISON_AFTER} times in answer to this publish; it is not sent again`), 0)
  }

  #settle (delivery: Delivery, error: Error | null, reasonCode: number): void {
    if (delivery.state === 'settled') return
    const { bytes, source } = delivery
    if (delivery.packetId !== 0) {
      this.#inflight.delete(delivery.packetId)
      this.#ids.release(delivery.packetId)
    }
    delivery.state = 'settled'
    this.messages -= delivery.messages
    this.bytes -= bytes
    if (source !== undefined) {
      source.messages -= delivery.messages
      source.bytes -= bytes
    }
    if (!delivery.abandoned) {
      if (error === null) this.counters.published += delivery.messages
      else this.counters.refused += delivery.messages
      delivery.settle(delivery, error === null ? null : withMaybeSent(error, delivery.maybeSent), reasonCode)
    }
    if (this.messages === 0 && this.#idle.length > 0) {
      for (const resolve of this.#idle.splice(0)) resolve()
    }
  }

  #sweep (now: number): number {
    let next = Infinity
    const visit = (delivery: Delivery): void => {
      if (delivery.state === 'settled' || delivery.abandoned) return
      if (delivery.deadline > now) next = Math.min(next, delivery.deadline)
      else this.abandon(delivery, timedOut())
    }
    for (const delivery of this.#inflight.values()) visit(delivery)
    for (const batch of this.#writing) batch.forEach(visit)
    for (const source of this.#active) {
      for (const delivery of source.queue) visit(delivery)
    }
    return next
  }
}

/** Collects frames into as few buffers as possible: those that lie next to each other leave as one. */
class Run {
  readonly #packets: Buffer[]
  #buffer: Buffer | undefined
  #start = 0
  #end = 0

  constructor (packets: Buffer[]) {
    this.#packets = packets
  }

  frame (delivery: Delivery): void {
    if (delivery.buffer === this.#buffer && delivery.start === this.#end) {
      this.#end = delivery.end
      return
    }
    this.close()
    this.#buffer = delivery.buffer
    this.#start = delivery.start
    this.#end = delivery.end
  }

  packet (packet: Buffer): void {
    this.close()
    this.#packets.push(packet)
  }

  close (): void {
    if (this.#buffer === undefined) return
    this.#packets.push(this.#buffer.subarray(this.#start, this.#end))
    this.#buffer = undefined
  }
}

function rewriteRun (delivery: Delivery, to: ProtocolVersion): Frame {
  const change = { from: delivery.version, to }
  if (delivery.messages === 1) return rewriteFrame(delivery, change)
  const parts: Buffer[] = []
  for (let start = delivery.start; start < delivery.end;) {
    const { end } = readFrame(delivery.buffer, start, delivery.end)
    const frame = rewriteFrame({ buffer: delivery.buffer, start, end }, change)
    parts.push(frame.buffer.subarray(frame.start, frame.end))
    start = end
  }
  const buffer = Buffer.concat(parts)
  return { buffer, start: 0, end: buffer.length }
}

function release (delivery: Delivery): Buffer {
  const packet = Buffer.allocUnsafe(4)
  encodeAck(packet, 0, PacketType.PUBREL, delivery.packetId, 0, 4)
  return packet
}

function withMaybeSent (error: Error, maybeSent: boolean): Error {
  (error as MqttError).maybeSent = maybeSent
  return error
}

function full (text: string): Error {
  return withMaybeSent(FST_MQTT_OUTBOX_FULL(`${text}; await publishes, or raise the limit`), false)
}

function closedError (): Error {
  return FST_MQTT_CLOSED('The application has closed before the broker confirmed this publish')
}

function timedOut (): Error {
  return FST_MQTT_TIMEOUT('The broker did not confirm this publish in time (option timeout, or publishTimeout)')
}

function refused (reasonCode: number): Error {
  const error = FST_MQTT_PUBLISH_REFUSED(`The broker refused this publish: ${reasonName(reasonCode)}`) as MqttError
  error.reasonCode = reasonCode
  return error
}

function sessionLost (reasonCode: number): Error {
  const error = FST_MQTT_SESSION_LOST(`The broker does not know this publish any more: ${reasonName(reasonCode)}`) as MqttError
  error.reasonCode = reasonCode
  return error
}
