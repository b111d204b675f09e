import { MalformedPacket, MalformedReason } from './malformed.ts'
import { PacketType, type ProtocolVersion } from './packet.ts'

/** The four packets that answer a PUBLISH or one another (MQTT 5 sections 3.4-3.7). */
export type AckType =
  typeof PacketType.PUBACK | typeof PacketType.PUBREC | typeof PacketType.PUBREL | typeof PacketType.PUBCOMP

/** No acknowledgement that {@link encodeAck} writes is longer. */
export const MAX_ACK_LENGTH = 5

/**
 * Writes an acknowledgement and returns where it ends (MQTT 5 sections 3.4-3.7).
 * The reason code is left out when it is 0, and before MQTT 5, which has no word for it.
 */
export function encodeAck (
  target: Buffer, offset: number, type: AckType, id: number, reasonCode: number, version: ProtocolVersion
): number {
  const withReason = version === 5 && reasonCode !== 0
  target[offset] = type << 4 | (type === PacketType.PUBREL ? 2 : 0)
  target[offset + 1] = withReason ? 3 : 2
  target[offset + 2] = id >> 8
  target[offset + 3] = id & 255
  if (!withReason) return offset + 4
  target[offset + 4] = reasonCode
  return offset + 5
}

/**
 * The packet id of an acknowledgement (MQTT 5 sections 3.4-3.7). Throws MalformedPacket when the packet is not as long as
 * it should be; properties are not read, but they must fill it.
 */
export function ackId (buffer: Buffer, bodyStart: number, end: number, version: ProtocolVersion): number {
  const length = end - bodyStart
  if (length !== 2) {
    if (length < 2 || version !== 5) throw badLength()
    if (length > 3) checkProperties(buffer, bodyStart + 3, end)
  }
  const id = buffer[bodyStart]! << 8 | buffer[bodyStart + 1]!
  if (id === 0) throw new MalformedPacket('Acknowledgement of packet id 0', MalformedReason.PROTOCOL_ERROR)
  return id
}

/** The reason code of an acknowledgement that {@link ackId} found to be whole; 0 when it has none (section 3.4.2.1). */
export function ackReasonCode (buffer: Buffer, bodyStart: number, end: number): number {
  return end - bodyStart > 2 ? buffer[bodyStart + 2]! : 0
}

function checkProperties (buffer: Buffer, start: number, end: number): void {
  let length = 0
  for (let p = start, shift = 0; p < end && shift < 28; shift += 7) {
    const byte = buffer[p++]!
    length |= (byte & 127) << shift
    if (byte < 128) {
      if (p + length !== end) break
      return
    }
  }
  throw badLength()
}

function badLength (): MalformedPacket {
  return new MalformedPacket('Acknowledgement of the wrong length')
}
