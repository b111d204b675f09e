import { FST_MQTT_WORKER_TOPIC } from '../errors.ts'
import type { Frame } from '../wire/encode.ts'
import { encodeProperties } from '../wire/properties.ts'
import { rewriteFrame } from '../wire/rewrite.ts'
import { stripTopic, topicOf } from './frames.ts'
import { NOT_PERMITTED, type PublishMessage } from './protocol.ts'
import { unpack } from './unpack.ts'

/** Where workers may publish. */
export interface AdmissionOptions {
  /** Of this connection, without slashes at its ends; empty for none. */
  readonly prefix: string
  /** Whether workers may publish to a topic, prefix included; to all without. */
  readonly permits?: (absoluteTopic: string) => boolean
}

/** What a worker's frame has to pass: it goes below the prefix of this connection, and only where workers may publish. */
export class Admission {
  readonly #options: AdmissionOptions
  readonly #prefix: Buffer

  constructor (options: AdmissionOptions) {
    this.#options = options
    this.#prefix = Buffer.from(options.prefix === '' ? '' : `${options.prefix}/`)
  }

  /** True when there is nothing to be looked at. */
  isOpen (message: PublishMessage, isAbsolute: boolean): boolean {
    return this.#options.permits === undefined && !this.#isForeign(message, isAbsolute)
  }

  /**
   * The frame with the connection's prefix before its topic.
   *
   * @throws `FST_MQTT_WORKER_TOPIC`; `FST_MQTT_PROPERTY`; MalformedPacket
   */
  admit (frame: Frame, message: PublishMessage, isAbsolute: boolean): Frame {
    const { permits } = this.#options
    if (this.#isForeign(message, isAbsolute)) frame = this.#readdress(frame, message)
    if (permits === undefined) return frame
    assertPermitted(permits, topicOf(frame, message.version))
    // Whoever limits workers does not trust them, so all is checked here over which a broker would hang up.
    encodeProperties(unpack(frame, message.version).properties)
    return frame
  }

  /** The worker did not know the prefix yet. */
  #isForeign (message: PublishMessage, isAbsolute: boolean): boolean {
    return !isAbsolute && message.prefix !== this.#options.prefix
  }

  #readdress (frame: Frame, { prefix, version }: PublishMessage): Frame {
    const stripped = prefix === '' ? frame : stripTopic(frame, version, Buffer.byteLength(prefix) + 1)
    return rewriteFrame(stripped, { from: version, to: version, prefix: this.#prefix })
  }
}

/** @throws `FST_MQTT_WORKER_TOPIC` */
export function assertPermitted (permits: (absoluteTopic: string) => boolean, topic: string): void {
  if (!permits(topic)) throw FST_MQTT_WORKER_TOPIC(NOT_PERMITTED)
}
