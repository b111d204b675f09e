import { Cursor } from './cursor.ts'
import { MalformedPacket, MalformedReason } from './malformed.ts'
import { PacketType, type ProtocolVersion } from './packet.ts'

/* Packets that mqtt.js reads: it does so a moment later, when what stands behind a broken one would have been handled. */

const REASON_STRING = 0x1f
const USER_PROPERTY = 0x26
const SERVER_REFERENCE = 0x1c
const AUTHENTICATION_METHOD = 0x15
const AUTHENTICATION_DATA = 0x16

/** The properties that each may have (MQTT 5 section 2.2.2.2). */
const ALLOWED: ReadonlyMap<number, ReadonlySet<number>> = new Map([
  [PacketType.SUBACK, new Set([REASON_STRING, USER_PROPERTY])],
  [PacketType.UNSUBACK, new Set([REASON_STRING, USER_PROPERTY])],
  [PacketType.DISCONNECT, new Set([REASON_STRING, USER_PROPERTY, SERVER_REFERENCE])],
  [PacketType.AUTH, new Set([REASON_STRING, USER_PROPERTY, AUTHENTICATION_METHOD, AUTHENTICATION_DATA])]
])

/**
 * Checks the body of a SUBACK, UNSUBACK, PINGRESP, DISCONNECT or AUTH of a broker (MQTT 5 sections 3.9, 3.11, 3.13-3.15).
 *
 * @throws MalformedPacket
 */
export function checkControl (type: number, buffer: Buffer, bodyStart: number, end: number, version: ProtocolVersion): void {
  const cursor = new Cursor(buffer, bodyStart, end)
  switch (type) {
    case PacketType.SUBACK:
    case PacketType.UNSUBACK: {
      if (cursor.uint16() === 0) throw new MalformedPacket('An answer to packet id 0', MalformedReason.PROTOCOL_ERROR)
      if (version === 5) checkProperties(type, cursor)
      const codes = end - cursor.at
      const hasCodes = type === PacketType.SUBACK || version === 5
      if (hasCodes ? codes === 0 : codes > 0) throw wrongLength()
      return
    }
    case PacketType.PINGRESP:
      if (end !== bodyStart) throw wrongLength()
      return
    case PacketType.DISCONNECT:
    case PacketType.AUTH:
      if (version < 5) throw new MalformedPacket(`Before MQTT 5 a broker must not send packet type ${type}`, MalformedReason.PROTOCOL_ERROR)
      if (end === bodyStart) return
      cursor.byte()
      if (cursor.at < end) checkProperties(type, cursor)
      if (cursor.at !== end) throw wrongLength()
  }
}

function checkProperties (type: number, cursor: Cursor): void {
  const length = cursor.varint()
  const last = cursor.at + length
  const seen = new Set<number>()
  while (cursor.at < last) {
    const id = cursor.varint()
    if (!ALLOWED.get(type)!.has(id)) throw new MalformedPacket(`Property ${id} in packet type ${type}`, MalformedReason.PROTOCOL_ERROR)
    if (seen.has(id) && id !== USER_PROPERTY) throw new MalformedPacket(`Property ${id} more than once`, MalformedReason.PROTOCOL_ERROR)
    seen.add(id)
    if (id === AUTHENTICATION_DATA) cursor.binary()
    else cursor.string()
    if (id === USER_PROPERTY) cursor.string()
  }
  if (cursor.at !== last) throw wrongLength()
}

function wrongLength (): MalformedPacket {
  return new MalformedPacket('A packet of the wrong length')
}
