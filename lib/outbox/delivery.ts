import type { Frame } from '../wire/encode.ts'
import type { ProtocolVersion, QoS } from '../wire/packet.ts'
import type { Source } from './source.ts'

/**
 * Where a delivery is. What moves it on stands in docs/internals.md, under these names.
 *
 * - `queued`: accepted; not a byte has left.
 * - `writing`: QoS 0, handed to the socket.
 * - `sent`: QoS 1 or 2, written; waits for PUBACK or PUBREC.
 * - `released`: QoS 2, PUBREC has come and PUBREL is written; waits for PUBCOMP.
 * - `settled`: over; its memory is free.
 */
export type DeliveryState = 'queued' | 'writing' | 'sent' | 'released' | 'settled'

/** Tells whoever published how it ended: an error, or a reason code below 0x80. */
export type Settle = (delivery: Delivery, error: Error | null, reasonCode: number) => void

/**
 * One or more PUBLISH frames on their way to the broker: one of QoS 1 or 2, or a run of QoS 0 frames that lie
 * next to each other in memory, leave in one write and settle together.
 */
export class Delivery implements Frame {
  buffer: Buffer
  start: number
  end: number
  /** The layout that the bytes are in. */
  version: ProtocolVersion
  readonly qos: QoS
  /** How many frames: more than one only for QoS 0 without retain. */
  messages = 1
  /** The size of the largest of them, to hold against the broker's limit. */
  largest: number
  /** Who published it; set when it is accepted. */
  source: Source | undefined
  state: DeliveryState = 'queued'
  packetId = 0
  /** False only as long as not a byte has left. */
  maybeSent = false
  /** Its caller has an answer already (deadline, abort), but the exchange with the broker is not over. */
  abandoned = false
  /** How many connections in a row died while this was the oldest unacknowledged one. */
  failures = 0
  /** When its caller gives up, on the outbox's clock; Infinity is never. */
  readonly deadline: number
  readonly settle: Settle

  constructor (frame: Frame, version: ProtocolVersion, qos: QoS, deadline: number, settle: Settle) {
    this.buffer = frame.buffer
    this.start = frame.start
    this.end = frame.end
    this.largest = frame.end - frame.start
    this.source = undefined
    this.version = version
    this.qos = qos
    this.deadline = deadline
    this.settle = settle
  }

  get bytes (): number {
    return this.end - this.start
  }
}
