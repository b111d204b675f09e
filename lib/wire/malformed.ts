import { reasonName } from './packet.ts'

/** The reason codes that a broken packet can be answered with (MQTT 5 section 2.4). */
export const MalformedReason = {
  MALFORMED: 0x81,
  PROTOCOL_ERROR: 0x82,
  TOPIC_NAME_INVALID: 0x90,
  TOPIC_ALIAS_INVALID: 0x94,
  TOO_LARGE: 0x95
} as const

/** One of the values of {@link MalformedReason}. */
export type MalformedReason = typeof MalformedReason[keyof typeof MalformedReason]

/**
 * What the other side sent is not MQTT, so nothing more that it sends can be trusted and the connection has to
 * go (MQTT 5 section 4.13). The text says what is wrong and never holds a byte of the packet.
 */
export class MalformedPacket extends Error {
  override readonly name = 'MalformedPacket'
  readonly reasonCode: MalformedReason

  constructor (what: string, reasonCode: MalformedReason = MalformedReason.MALFORMED) {
    super(`${what} (${reasonName(reasonCode)})`)
    this.reasonCode = reasonCode
  }
}
