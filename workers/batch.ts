import type { Layout, PublishMessage } from '../lib/bridge/protocol.ts'
import { encodePublish } from '../lib/wire/encode.ts'
import type { QoS } from '../lib/wire/packet.ts'

/** What goes over at once. A frame on the main thread keeps all that it came with in memory. */
const CAPACITY = 64 * 1024
/** A larger frame goes alone, in memory of its own that is transferred as it is. */
const OWN = 16 * 1024

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
  readonly timeout: number | undefined
  readonly abortable: boolean
  readonly absolute: boolean
}

/** The frames that a worker publishes in a turn, encoded one behind the other. */
export class Batch {
  /** The number of the next publish. */
  next = 0
  #count = 0
  #used = 0
  /** Used over and over: what leaves is a copy of exactly what was used, and fresh memory is dearer than a copy. */
  #scratch: Buffer | undefined
  #own: Buffer | undefined
  #timeouts: number[] = []
  #abortable: number[] = []
  #absolute: number[] = []
  #properties = false

  get empty (): boolean {
    return this.#count === 0
  }

  /** Whether a frame of this size can go with what is here. */
  fits (size: number): boolean {
    return this.#count === 0 || (this.#own === undefined && size <= OWN && this.#used + size <= CAPACITY)
  }

  /** Encodes a frame and returns its number. When that throws, nothing has changed. */
  add (publish: Encodable, version: Layout['version'], notes: FrameNotes): number {
    const { topic, payload, payloadLength, qos, retain, properties, size } = publish
    const own = size > OWN ? Buffer.allocUnsafeSlow(size) : undefined
    const target = own ?? (this.#scratch ??= Buffer.allocUnsafeSlow(CAPACITY))
    encodePublish(target, own === undefined ? this.#used : 0, topic, payload, payloadLength, qos, retain, version, properties)
    this.#own = own
    this.#used += size
    this.#count++
    const seq = this.next++
    if (notes.timeout !== undefined) this.#timeouts.push(seq, notes.timeout)
    if (notes.abortable) this.#abortable.push(seq)
    if (notes.absolute) this.#absolute.push(seq)
    if (properties !== null) this.#properties = true
    return seq
  }

  /** All frames as one message, with memory that holds nothing else, to be forgotten here. */
  take ({ prefix, version }: Layout): PublishMessage {
    const buffer = (this.#own?.buffer ?? this.#scratch!.buffer.slice(0, this.#used)) as ArrayBuffer
    const message: PublishMessage = {
      type: 'publish',
      buffer,
      prefix,
      version,
      first: this.next - this.#count,
      count: this.#count,
      ...(this.#timeouts.length > 0 && { timeouts: this.#timeouts }),
      ...(this.#abortable.length > 0 && { abortable: this.#abortable }),
      ...(this.#absolute.length > 0 && { absolute: this.#absolute }),
      ...(this.#properties && { properties: true })
    }
    this.#count = 0
    this.#used = 0
    this.#own = undefined
    if (this.#timeouts.length > 0) this.#timeouts = []
    if (this.#abortable.length > 0) this.#abortable = []
    if (this.#absolute.length > 0) this.#absolute = []
    this.#properties = false
    return message
  }
}
