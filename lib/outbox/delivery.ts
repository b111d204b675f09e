import type { Suspect } from '../suspects.ts'
import type { Lease } from './lease.ts'
import { setDup, setPacketId, type Frame, type Slab } from '../wire/encode.ts'
import type { ProtocolVersion, QoS } from '../wire/packet.ts'
import { readFrame, rewriteFrame } from '../wire/rewrite.ts'

/**
 * Where a delivery is. What moves it on stands in docs/internals.md, under these names.
 *
 * - `held`: accepted; it is still in its onPublish hooks.
 * - `queued`: accepted; not a byte has left.
 * - `writing`: QoS 0, handed to the socket.
 * - `sent`: QoS 1 or 2, written; waits for PUBACK or PUBREC.
 * - `released`: QoS 2, PUBREC has come and PUBREL is written; waits for PUBCOMP.
 * - `settled`: over; its memory is free.
 */
export type DeliveryState = 'held' | 'queued' | 'writing' | 'sent' | 'released' | 'settled'

/** Tells whoever published how it ended: an error, or a reason code below 0x80. */
export type Settle = (delivery: Delivery, error: Error | null, reasonCode: number) => void

/** Whose limit a delivery counts against. */
export interface Account {
  messages: number
  bytes: number
  /** One of its deliveries was given up while it was queued. */
  gaveUp (): void
}

/**
 * One or more PUBLISH frames on their way to the broker: one of QoS 1 or 2, or a run of QoS 0 frames that lie
 * next to each other in memory, leave in one write and settle together.
 */
export class Delivery implements Frame, Suspect {
  buffer: Buffer
  start: number
  end: number
  /** The layout that the bytes are in. */
  version: ProtocolVersion
  qos: QoS
  /** How many frames: more than one only for QoS 0 without retain. */
  messages = 1
  /** The size of the largest of them, to hold against the broker's limit. */
  largest: number
  /** Who published it; set when it is accepted. */
  account: Account | undefined
  /** Of the memory that it came in, where somebody wants that back. */
  lease: Lease | undefined
  state: DeliveryState = 'queued'
  packetId = 0
  /** False only as long as not a byte has left. */
  maybeSent = false
  /** Its caller has an answer already (deadline, abort), but the exchange with the broker is not over. */
  abandoned = false
  /** Written on this connection, and not done on it. */
  open = false
  /** Its PUBREL was sent again on a later connection: the broker may have ended the exchange before. */
  resumed = false
  tries = 0
  alone = 0
  /** When its caller gives up, on performance.now()'s clock; Infinity is never. */
  readonly deadline: number
  readonly settle: Settle

  constructor (frame: Frame, version: ProtocolVersion, qos: QoS, deadline: number, settle: Settle) {
    this.buffer = frame.buffer
    this.start = frame.start
    this.end = frame.end
    this.largest = frame.end - frame.start
    this.account = undefined
    this.lease = undefined
    this.version = version
    this.qos = qos
    this.deadline = deadline
    this.settle = settle
  }

  get bytes (): number {
    return this.end - this.start
  }

  /** Gives it the bytes that hooks have made. */
  fill ({ buffer, start, end }: Frame, version: ProtocolVersion, qos: QoS): void {
    this.buffer = buffer
    this.start = start
    this.end = end
    this.largest = end - start
    this.version = version
    this.qos = qos
  }

  /** Moves its bytes, so that they do not keep those of others in memory. */
  move (slab: Slab): void {
    const length = this.bytes
    const start = slab.reserve(length)
    this.buffer.copy(slab.buffer, start, this.start, this.end)
    this.buffer = slab.buffer
    this.start = start
    this.end = start + length
    this.lease?.release()
    this.lease = undefined
  }

  get retain (): boolean {
    return (this.buffer[this.start]! & 1) === 1
  }

  /** Gives it the packet identifier of its exchange with the broker. */
  identify (id: number): void {
    this.packetId = id
    setPacketId(this.buffer, this.start, id)
  }

  /** Says that the broker may have it already (MQTT 5 section 3.3.1.1). */
  repeat (): void {
    setDup(this.buffer, this.start)
  }

  /**
   * Brings the bytes into another version's layout, where that was not known when they were encoded.
   *
   * @param onLost called when properties have no place there
   */
  adapt (to: ProtocolVersion, onLost: () => void): void {
    if (this.version === to || (this.version < 5 && to < 5)) return
    const change = { from: this.version, to, onLost }
    const frames = this.#frames().map(frame => rewriteFrame(frame, change))
    this.largest = Math.max(...frames.map(({ start, end }) => end - start))
    this.buffer = Buffer.concat(frames.map(({ buffer, start, end }) => buffer.subarray(start, end)))
    this.start = 0
    this.end = this.buffer.length
    this.version = to
  }

  #frames (): Frame[] {
    if (this.messages === 1) return [this]
    const frames: Frame[] = []
    for (let { buffer, start } = this; start < this.end;) {
      const { end } = readFrame(buffer, start, this.end)
      frames.push({ buffer, start, end })
      start = end
    }
    return frames
  }
}
