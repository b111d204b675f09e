import { decodeText } from './cursor.ts'
import { MalformedPacket, MalformedReason } from './malformed.ts'
import type { NativeBuffer, ProtocolVersion, QoS, ReceivedProperties } from './packet.ts'
import { decodeProperties, type PropertyTarget } from './properties.ts'

const SUBSCRIPTION_IDENTIFIER = 0x0b

/** A PUBLISH as it came in (MQTT 5 section 3.3). Every instance has all fields, in this order. */
export class Publish implements PropertyTarget {
  readonly topic: string
  /** A view on what was read. */
  payload: Buffer
  readonly qos: QoS
  readonly retain: boolean
  readonly dup: boolean
  /** 0 with QoS 0. */
  readonly packetId: number
  /** Of the whole packet, in bytes. */
  readonly size: number
  /** Undefined when there are none but subscription identifiers. */
  properties: ReceivedProperties | undefined
  /** The identifiers of the subscriptions that this message was sent for (section 3.3.2.3.8). */
  subscriptionIds: readonly number[] | undefined

  constructor (topic: string, payload: Buffer, flags: number, packetId: number, size: number) {
    this.topic = topic
    this.payload = payload
    this.qos = (flags >> 1 & 3) as QoS
    this.retain = (flags & 1) !== 0
    this.dup = (flags & 8) !== 0
    this.packetId = packetId
    this.size = size
    this.properties = undefined
    this.subscriptionIds = undefined
  }
}

/**
 * Reads the PUBLISH whose fixed header is at `start`, the rest of it from `bodyStart` up to `end` (MQTT 5 section 3.3).
 * Throws MalformedPacket at anything that the specification forbids.
 *
 * The head that the framer gives of one that is too large can be read as well: as version 4, which looks for no properties.
 */
export function decodePublish (
  buffer: Buffer, start: number, bodyStart: number, end: number, version: ProtocolVersion
): Publish {
  const flags = buffer[start]! & 15
  const qos = flags >> 1 & 3
  if (qos === 3) throw new MalformedPacket('PUBLISH with QoS 3')
  if (flags >= 8 && qos === 0) throw new MalformedPacket('PUBLISH with DUP and QoS 0')

  let p = bodyStart + 2
  if (p > end) throw truncated()
  const topicEnd = p + (buffer[bodyStart]! << 8 | buffer[bodyStart + 1]!)
  if (topicEnd > end) throw truncated()
  const topic = decodeTopic(buffer, p, topicEnd)

  p = topicEnd
  let packetId = 0
  if (qos !== 0) {
    if (p + 2 > end) throw truncated()
    packetId = buffer[p]! << 8 | buffer[p + 1]!
    if (packetId === 0) throw new MalformedPacket('PUBLISH with packet id 0', MalformedReason.PROTOCOL_ERROR)
    p += 2
  }
  if (version !== 5) {
    if (topic === '') throw emptyTopic()
    return new Publish(topic, buffer.subarray(p, end), flags, packetId, end - start)
  }

  let length = 0
  let shift = 0
  for (;;) {
    if (p === end) throw truncated()
    const byte = buffer[p++]!
    length |= (byte & 127) << shift
    if (byte < 128) break
    if ((shift += 7) === 28) throw new MalformedPacket('A property length of more than four bytes')
  }
  const payloadStart = p + length
  if (payloadStart > end) throw truncated()
  const publish = new Publish(topic, buffer.subarray(payloadStart, end), flags, packetId, end - start)
  // With a subscription identifier alone, as nearly every message on MQTT 5 has it, nothing needs to be walked.
  const id = soleIdentifier(buffer, p, payloadStart)
  if (id > 0) publish.subscriptionIds = [id]
  else if (length > 0) decodeProperties(buffer, p, payloadStart, publish)
  // Only now, because the reason for an empty topic is the alias that was just refused.
  if (topic === '') throw emptyTopic()
  return publish
}

/** The identifier, when the properties from `start` to `end` are one and nothing else; otherwise 0. */
function soleIdentifier (buffer: Buffer, start: number, end: number): number {
  if (end - start < 2 || end - start > 5 || buffer[start] !== SUBSCRIPTION_IDENTIFIER) return 0
  let id = 0
  for (let p = start + 1, shift = 0; p < end; p++, shift += 7) {
    const byte = buffer[p]!
    id |= (byte & 127) << shift
    if (byte < 128) return p + 1 === end ? id : 0
  }
  return 0
}

function decodeTopic (buffer: Buffer, start: number, end: number): string {
  let seen = 0
  for (let i = start; i < end; i++) {
    const byte = buffer[i]!
    seen |= byte
    if (byte < 0x2c && (byte === 0x2b || byte === 0x23 || byte === 0)) {
      throw new MalformedPacket('A topic name with a wildcard or NUL', MalformedReason.TOPIC_NAME_INVALID)
    }
  }
  return seen < 128 ? (buffer as NativeBuffer).latin1Slice(start, end) : decodeText(buffer, start, end)
}

function truncated (): MalformedPacket {
  return new MalformedPacket('PUBLISH shorter than what it holds')
}

function emptyTopic (): MalformedPacket {
  return new MalformedPacket('PUBLISH without a topic name', MalformedReason.PROTOCOL_ERROR)
}
