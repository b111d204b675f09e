import type { PublishOptions, PublishPacket } from '../types/index.ts'
import { copyOf } from '../wire/copy.ts'
import { encodePublish, payloadLength, publishLength, Slab, type Frame } from '../wire/encode.ts'
import type { ProtocolVersion, PublishProperties, QoS } from '../wire/packet.ts'
import { toPayload } from '../wire/payload.ts'
import { encodeProperties } from '../wire/properties.ts'
import { checkPublishOptions, type CheckedPublishOptions } from '../wire/publish-options.ts'
import { TopicCache } from '../wire/topic-cache.ts'

/** The payload as it is: for hooks it is a Buffer. */
export const kPayload = Symbol('multimqtt.packet.payload')
/** Takes a copy of bytes that are still somebody else's. */
export const kKeep = Symbol('multimqtt.packet.keep')

/** A publish as hooks see it and change it. */
export class Packet implements PublishPacket {
  topic: string
  qos: QoS
  retain: boolean
  properties: PublishProperties
  #payload: string | Uint8Array
  /** What there is of it as a Buffer, in memory that nobody else writes to. */
  #bytes: Buffer | undefined

  constructor (topic: string, payload: string | Uint8Array, qos: QoS, retain: boolean, properties: PublishProperties) {
    this.topic = topic
    this.#payload = payload
    this.qos = qos
    this.retain = retain
    this.properties = properties
  }

  get payload (): Buffer {
    this.#bytes ??= copyOf(this.#payload)
    return this.#bytes
  }

  set payload (payload: unknown) {
    // A copy: a hook may fill the same bytes anew for the next publish, while another hook still waits with this one.
    this.#bytes = copyOf(toPayload(payload))
  }

  get [kPayload] (): string | Uint8Array {
    return this.#bytes ?? this.#payload
  }

  [kKeep] (): void {
    if (typeof this.#payload !== 'string') this.#payload = this.payload
  }
}

/** What hooks have made of a packet, each thing read once and checked as what `publish` is given. */
export function readPacket (packet: Packet): { topic: string, options: CheckedPublishOptions } {
  const { topic, qos, retain, properties } = packet
  return { topic, options: checkPublishOptions({ qos, retain, properties } as PublishOptions) }
}

/** A packet as bytes, and what the outbox has to know of it. */
export interface EncodedPacket extends Frame {
  readonly version: ProtocolVersion
  readonly qos: QoS
  readonly retain: boolean
}

export interface PacketEncoderOptions {
  /** The layout of the connection, or of the one that is expected. */
  readonly version: () => ProtocolVersion
  /** Properties were given, and the connection's version cannot carry them. */
  readonly onUnsendable?: (() => void) | undefined
  /** Whether whoever publishes may publish to this topic; throws if not. */
  readonly permit?: ((topic: string) => void) | undefined
}

/** Encodes what has passed hooks. Topics are absolute. */
export class PacketEncoder {
  readonly #options: PacketEncoderOptions
  readonly #topics = new TopicCache('')
  /** One for QoS 0, one for what may have to be kept: a frame in flight keeps its whole chunk of memory. */
  readonly #slab = new Slab()
  readonly #keptSlab = new Slab()

  constructor (options: PacketEncoderOptions) {
    this.#options = options
  }

  /** @throws what `publish` rejects with */
  encode (packet: Packet): EncodedPacket {
    const { topic, options: { qos = 0, retain = false, properties } } = readPacket(packet)
    const version = this.#options.version()
    const name = this.#topics.encode(topic, true)
    this.#options.permit?.(topic)
    const payload = packet[kPayload]
    const block = encodeProperties(properties)
    if (block !== null && version < 5) this.#options.onUnsendable?.()
    const length = payloadLength(payload)
    const size = publishLength(name.length, length, qos, version, block)
    const slab = qos === 0 ? this.#slab : this.#keptSlab
    const start = slab.reserve(size)
    const { buffer } = slab
    return { buffer, start, end: encodePublish(buffer, start, name, payload, length, qos, retain, version, block), version, qos, retain }
  }
}
