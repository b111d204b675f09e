import type { PublishProperties, QoS } from '../wire/packet.ts'
import type { PublishedMessage } from './publish.ts'

/** A message for `inject`. */
export interface InjectMessage {
  /** Relative to the prefix, unless `absolute`. */
  readonly topic: string
  /** As for `publish`. */
  readonly payload?: unknown
  /** Default 0. */
  readonly qos?: QoS | undefined
  /** Default false. */
  readonly retain?: boolean | undefined
  /** MQTT 5 properties; with `responseTopic` the message asks for a reply. */
  readonly properties?: PublishProperties | undefined
  /** Default false. */
  readonly absolute?: boolean | undefined
}

/** What became of an injected message. */
export interface InjectResult {
  /** The routes that matched, in the order in which they were declared: their names, or patterns where they have none. */
  readonly matched: readonly string[]
  /** What the handlers of each returned. */
  readonly results: readonly unknown[]
  /** The reply, where the message asked for one. */
  readonly reply: PublishedMessage | undefined
  /** What the first route that failed has failed with. */
  readonly error: (Error & { readonly code?: string }) | undefined
  /** A broker would have been told that it was handled: of QoS 1 and 2. */
  readonly acked: boolean
  /** What an MQTT 5 broker would have been told: 0, 0x83 a handler failed, 0x99 the body is not valid. */
  readonly reasonCode: number
  /** What the handlers published meanwhile. Of pool tasks and other threads it does not know. */
  readonly published: readonly PublishedMessage[]
}
