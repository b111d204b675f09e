import { FST_MQTT_TOPIC } from '../errors.ts'
import { topicNameError } from '../topics/topic.ts'
import { MAX_STRING, quote, type NativeBuffer } from './packet.ts'

/** A generation is full with so many topics, or so many of their bytes. */
const MAX_ENTRIES = 4096
const MAX_BYTES = 524_288
/** Longer topics are encoded each time. */
const MAX_CACHED = 1024

/** Two generations: what is found in the old one moves to the new one, and a full new one becomes the old one. */
class Generations {
  #young = new Map<string, Uint8Array>()
  #old = new Map<string, Uint8Array>()
  #bytes = 0

  get (topic: string): Uint8Array | undefined {
    const young = this.#young.get(topic)
    if (young !== undefined) return young
    const old = this.#old.get(topic)
    if (old !== undefined) this.set(topic, old)
    return old
  }

  set (topic: string, encoded: Uint8Array): void {
    if (this.#young.size === MAX_ENTRIES || this.#bytes > MAX_BYTES) {
      this.#old = this.#young
      this.#young = new Map()
      this.#bytes = 0
    }
    this.#young.set(topic, encoded)
    this.#bytes += encoded.length
  }
}

/**
 * Topics as they go over the wire: two bytes of length, then UTF-8 (MQTT 5 section 1.5.4), checked (section 4.7) and
 * with the prefix in front. What was asked for lately is remembered, so the bytes must not be changed.
 */
export class TopicCache {
  readonly #prefix: string
  readonly #relative = new Generations()
  readonly #absolute: Generations

  /** `prefix` has no slash at its ends and is empty when there is none. */
  constructor (prefix: string) {
    this.#prefix = prefix === '' ? '' : `${prefix}/`
    this.#absolute = prefix === '' ? this.#relative : new Generations()
  }

  /** The topic's bytes; FST_MQTT_TOPIC when it is none. */
  encode (topic: string, absolute: boolean): Uint8Array {
    const cache = absolute ? this.#absolute : this.#relative
    return cache.get(topic) ?? this.#encode(topic, absolute ? '' : this.#prefix, cache)
  }

  #encode (topic: string, prefix: string, cache: Generations): Uint8Array {
    if (typeof topic !== 'string') throw new FST_MQTT_TOPIC('The topic must be a string')
    const reason = topicNameError(topic)
    if (reason !== null) throw new FST_MQTT_TOPIC(`Topic ${quote(topic)}: ${reason}`)
    const whole = prefix + topic
    const length = Buffer.byteLength(whole)
    if (length > MAX_STRING) throw new FST_MQTT_TOPIC(`Topic ${quote(topic)}: over 65 535 bytes with its prefix`)
    const encoded = Buffer.allocUnsafeSlow(2 + length)
    encoded.writeUInt16BE(length, 0)
    encoded.write(whole, 2)
    if (length <= MAX_CACHED) {
      // The caller's string may be a slice that keeps a much larger one in memory; this one is on its own.
      cache.set((encoded as NativeBuffer).utf8Slice(2 + Buffer.byteLength(prefix), 2 + length), encoded)
    }
    return encoded
  }
}
