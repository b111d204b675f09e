import { FST_MQTT_PAYLOAD, FST_MQTT_TOPIC } from '../errors.ts'
import type { Frame } from './encode.ts'
import { MalformedPacket } from './malformed.ts'
import { MAX_STRING, MAX_VARINT, varintLength, writeVarint, type ProtocolVersion, type QoS } from './packet.ts'

/** Where things are in an encoded PUBLISH, whatever its version. */
export interface FrameLayout {
  end: number
  qos: QoS
  retain: boolean
  /** The topic's UTF-8, without its length. */
  topicStart: number
  topicEnd: number
  /** Where the packet id is; with QoS 0, where it would be. */
  idAt: number
}

/**
 * Walks an outgoing PUBLISH that somebody else encoded (MQTT 5 section 3.3) and checks everything that framing depends on:
 * whatever else may be wrong in it, what follows it on the wire stays apart from it.
 * `limit` is where the bytes that were handed over end.
 */
export function readFrame (buffer: Buffer, start: number, limit: number): FrameLayout {
  if (limit > buffer.length || start + 2 > limit) throw new MalformedPacket('A frame that is cut off')
  const first = buffer[start]!
  const qos = first >> 1 & 3
  if (first >> 4 !== 3 || qos === 3 || (first & 8) !== 0) {
    throw new MalformedPacket('A frame that is not a PUBLISH for the first time')
  }
  let p = start + 1
  let remaining = 0
  for (let shift = 0; ; shift += 7) {
    if (p === limit || shift === 28) throw new MalformedPacket('A frame with no valid length')
    const byte = buffer[p++]!
    remaining |= (byte & 127) << shift
    if (byte < 128) break
  }
  const end = p + remaining
  if (end > limit || remaining < 2) throw new MalformedPacket('A frame that is cut off')
  const topicStart = p + 2
  const topicEnd = topicStart + (buffer[p]! << 8 | buffer[p + 1]!)
  if (topicEnd + (qos === 0 ? 0 : 2) > end) throw new MalformedPacket('A frame shorter than what it holds')
  return { end, qos: qos as QoS, retain: (first & 1) !== 0, topicStart, topicEnd, idAt: topicEnd }
}

/** What {@link rewriteFrame} is to change. */
export interface FrameChange {
  from: ProtocolVersion
  to: ProtocolVersion
  /** Called when properties are dropped, which the new layout has no place for. */
  onLost?: () => void
  /** UTF-8 to put in front of the topic as it is, so with a slash at its end. */
  prefix?: Uint8Array
}

/**
 * The same PUBLISH in another version's layout (MQTT 5 section 3.3.2, MQTT 3.1.1 section 3.3.2), with a prefix in front
 * of its topic, or both. Flags and packet id stay; properties are lost to a version that has none. The frame given is not
 * changed, and is returned itself when there is nothing to do.
 */
export function rewriteFrame (frame: Frame, change: FrameChange): Frame {
  const { buffer, start, end } = frame
  const prefixLength = change.prefix === undefined ? 0 : change.prefix.length
  const adds = change.to === 5 && change.from !== 5
  const drops = change.to !== 5 && change.from === 5
  if (!adds && !drops && prefixLength === 0) return frame

  let topicAt = start + 1
  while (buffer[topicAt]! > 127) topicAt++
  topicAt++
  const topicLength = buffer[topicAt]! << 8 | buffer[topicAt + 1]!
  const headEnd = topicAt + 2 + topicLength + ((buffer[start]! & 6) === 0 ? 0 : 2)
  const tailStart = drops ? propertiesEnd(buffer, headEnd, end) : headEnd
  // One byte says that there are none.
  if (tailStart > headEnd + 1) change.onLost?.()

  if (topicLength + prefixLength > MAX_STRING) throw new FST_MQTT_TOPIC('The topic is over 65 535 bytes with its prefix')
  const remaining = headEnd - topicAt + prefixLength + (adds ? 1 : 0) + end - tailStart
  if (remaining > MAX_VARINT) {
    throw new FST_MQTT_PAYLOAD(`The payload is too large: with its topic it must not be over ${MAX_VARINT} bytes`)
  }

  const target = Buffer.allocUnsafeSlow(1 + varintLength(remaining) + remaining)
  target[0] = buffer[start]!
  let p = writeVarint(target, 1, remaining)
  p = target.writeUInt16BE(topicLength + prefixLength, p)
  if (change.prefix !== undefined) target.set(change.prefix, p)
  p += prefixLength
  p += buffer.copy(target, p, topicAt + 2, headEnd)
  if (adds) target[p++] = 0
  buffer.copy(target, p, tailStart, end)
  return { buffer: target, start: 0, end: target.length }
}

function propertiesEnd (buffer: Buffer, start: number, end: number): number {
  let length = 0
  for (let p = start, shift = 0; p < end && shift < 28; shift += 7) {
    const byte = buffer[p++]!
    length |= (byte & 127) << shift
    if (byte < 128) {
      if (p + length > end) break
      return p + length
    }
  }
  throw new MalformedPacket('A frame whose properties go past its end')
}
