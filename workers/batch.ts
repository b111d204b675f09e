import type { Layout, PublishMessage } from '../lib/bridge/protocol.ts'
import { encodePublish } from '../lib/wire/encode.ts'
import type { QoS } from '../lib/wire/packet.ts'
import { Memory, UNIT } from './memory.ts'

/** What goes over at once, but for a larger frame, which goes alone. A frame on the main thread keeps all that it came with in memory. */
const CAPACITY = UNIT

/** A publish, ready to be encoded. */
export interface Encodable {
  /** With its two bytes of length in front. */
  readonly topic: Uint8Array
  readonly payload: string | Uint8Array
  readonly payloadLength: number
  readonly qos: QoS
  readonly retain: boolean
  readonly properties: Uint8Array | null
  /** The size of the frame. */
  readonly size: number
}

/** What the main thread has to be told besides the frame. */
export interface FrameNotes {
  /** By `clock`; 0 for never, undefined for that of the connection. */
  readonly deadline: number | undefined
  readonly abortable: boolean
  readonly absolute: boolean
}

/** The frames that a worker publishes in a turn, encoded one behind the other. */
export class Batch {
  /** The number of the next publish. */
  next = 0
  #count = 0
  #used = 0
  readonly #memory = new Memory()
  /** Where the frames are, while there is one. */
  #buffer: Buffer | undefined
  #deadlines: number[] = []
  #abortable: number[] = []
  #absolute: number[] = []
  #properties = false

  get empty (): boolean {
    return this.#count === 0
  }

  /** Whether a frame of this size can go with what is here. */
  fits (size: number): boolean {
    return this.#count === 0 || this.#used + size <= CAPACITY
  }

  /** Memory has come back, to be used again. */
  reclaim (buffer: ArrayBuffer): void {
    this.#memory.give(buffer)
  }

  #room (size: number): Buffer {
    // With a frame in it it has room for whatever `fits`.
    if (this.#buffer !== undefined && this.#buffer.length < size) {
      this.#memory.give(this.#buffer.buffer as ArrayBuffer)
      this.#buffer = undefined
    }
    return (this.#buffer ??= Buffer.from(this.#memory.take(size)))
  }

  /** Encodes a frame and returns its number. When that throws, nothing has changed. */
  add (publish: Encodable, version: Layout['version'], notes: FrameNotes): number {
    const { topic, payload, payloadLength, qos, retain, properties, size } = publish
    const buffer = this.#room(size)
    encodePublish(buffer, this.#used, topic, payload, payloadLength, qos, retain, version, properties)
    this.#used += size
    this.#count++
    const seq = this.next++
    if (notes.deadline !== undefined) this.#deadlines.push(seq, notes.deadline)
    if (notes.abortable) this.#abortable.push(seq)
    if (notes.absolute) this.#absolute.push(seq)
    if (properties !== null) this.#properties = true
    return seq
  }

  /**
   * All frames as one message, to be forgotten here.
   *
   * @param lend the message is transferred, so its memory can come back
   */
  take ({ prefix, version }: Layout, lend: boolean): PublishMessage {
    const whole = this.#buffer!.buffer as ArrayBuffer
    // Little is copied out: while it waits over there, it must not keep much more than itself in memory.
    const lent = lend && this.#used * 2 >= whole.byteLength
    const message: PublishMessage = {
      type: 'publish',
      buffer: lent ? whole : whole.slice(0, this.#used),
      ...(lent && { used: this.#used }),
      prefix,
      version,
      first: this.next - this.#count,
      count: this.#count,
      ...(this.#deadlines.length > 0 && { deadlines: this.#deadlines }),
      ...(this.#abortable.length > 0 && { abortable: this.#abortable }),
      ...(this.#absolute.length > 0 && { absolute: this.#absolute }),
      ...(this.#properties && { properties: true })
    }
    // What is larger than any batch of small ones would never be filled by half again.
    if (lent || whole.byteLength > CAPACITY) this.#buffer = undefined
    this.#count = 0
    this.#used = 0
    if (this.#deadlines.length > 0) this.#deadlines = []
    if (this.#abortable.length > 0) this.#abortable = []
    if (this.#absolute.length > 0) this.#absolute = []
    this.#properties = false
    return message
  }
}
