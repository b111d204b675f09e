import { FST_MQTT_PROPERTY } from '../errors.ts'
import { topicNameError } from '../topics/topic.ts'
import { Cursor } from './cursor.ts'
import { MalformedPacket, MalformedReason } from './malformed.ts'
import {
  MAX_STRING, MAX_VARINT, quote, varintLength, writeVarint,
  type PublishProperties, type ReceivedProperties
} from './packet.ts'
import { unwelcomeCharacter } from '../topics/text.ts'

/** The identifiers of the properties that a PUBLISH may hold (MQTT 5 section 2.2.2.2). */
const PAYLOAD_FORMAT_INDICATOR = 0x01
const MESSAGE_EXPIRY_INTERVAL = 0x02
const CONTENT_TYPE = 0x03
const RESPONSE_TOPIC = 0x08
const CORRELATION_DATA = 0x09
const SUBSCRIPTION_IDENTIFIER = 0x0b
const TOPIC_ALIAS = 0x23
const USER_PROPERTY = 0x26

const refusals: Readonly<Record<string, string>> = {
  topicAlias: 'topic aliases are not used: they cost more than they save, and do not survive a reconnect',
  subscriptionIdentifier: 'only a broker may send it'
}

function invalid (name: string, why: string): Error {
  return new FST_MQTT_PROPERTY(`Property ${name}: ${why}`)
}

/** What will be written: everything is read from the caller's object once, so that size and content cannot differ. */
type Part = [id: number, value: number | string | Uint8Array, second?: string]

/**
 * The property block of a PUBLISH with its length in front (MQTT 5 section 3.3.2.3), or null when there is nothing
 * to say. Whatever a broker could hang up over is refused here, with the property's name.
 */
export function encodeProperties (properties: PublishProperties | undefined): Uint8Array | null {
  if (properties === undefined) return null
  if (typeof properties !== 'object' || properties === null || Array.isArray(properties)) {
    throw new FST_MQTT_PROPERTY('properties must be an object')
  }
  const parts: Part[] = []
  for (const [name, value] of Object.entries(properties)) {
    if (value !== undefined) collect(parts, name, value)
  }
  if (parts.length === 0) return null
  let length = 0
  for (const part of parts) length += partLength(part)
  if (length > MAX_VARINT) throw invalid('userProperties', 'they are over 268 435 455 bytes')
  const block = Buffer.allocUnsafeSlow(varintLength(length) + length)
  let offset = writeVarint(block, 0, length)
  for (const part of parts) offset = writePart(block, offset, part)
  return block
}

function collect (parts: Part[], name: string, value: unknown): void {
  switch (name) {
    case 'payloadFormatIndicator':
      if (typeof value !== 'boolean') throw invalid(name, 'must be true or false')
      parts.push([PAYLOAD_FORMAT_INDICATOR, value ? 1 : 0])
      return
    case 'messageExpiryInterval':
      if (!Number.isInteger(value) || (value as number) < 0 || (value as number) > 0xffff_ffff) {
        throw invalid(name, 'must be a whole number of seconds from 0 to 4 294 967 295')
      }
      parts.push([MESSAGE_EXPIRY_INTERVAL, value as number])
      return
    case 'contentType':
      parts.push([CONTENT_TYPE, text(name, value)])
      return
    case 'responseTopic': {
      const topic = text(name, value)
      const reason = topicNameError(topic)
      if (reason !== null) throw invalid(name, reason)
      parts.push([RESPONSE_TOPIC, topic])
      return
    }
    case 'correlationData': {
      if (!(value instanceof Uint8Array)) throw invalid(name, 'must be a Buffer or Uint8Array')
      if (value.length > MAX_STRING) throw invalid(name, 'must not be over 65 535 bytes')
      let copy: Uint8Array
      try { copy = new Uint8Array(value) } catch { throw invalid(name, 'its memory was transferred or detached') }
      parts.push([CORRELATION_DATA, copy])
      return
    }
    case 'userProperties':
      collectUser(parts, value)
      return
    default:
      throw invalid(quote(name), Object.hasOwn(refusals, name) ? refusals[name]! : 'there is no such property of a publish')
  }
}

function collectUser (parts: Part[], value: unknown): void {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw invalid('userProperties', 'must be an object of strings or lists of strings')
  }
  for (const [name, one] of Object.entries(value)) {
    const where = `userProperties[${quote(name)}]`
    text(where, name)
    if (Array.isArray(one)) {
      for (let i = 0; i < one.length; i++) parts.push([USER_PROPERTY, name, text(`${where}[${i}]`, one[i])])
    } else parts.push([USER_PROPERTY, name, text(where, one)])
  }
}

function text (name: string, value: unknown): string {
  if (typeof value !== 'string') throw invalid(name, 'must be a string')
  const found = unwelcomeCharacter(value)
  if (found !== null) throw invalid(name, `must not contain ${found}`)
  if (Buffer.byteLength(value) > MAX_STRING) throw invalid(name, 'must not be over 65 535 bytes in UTF-8')
  return value
}

function partLength ([id, value, second]: Part): number {
  if (typeof value === 'number') return id === MESSAGE_EXPIRY_INTERVAL ? 5 : 2
  const length = 3 + (typeof value === 'string' ? Buffer.byteLength(value) : value.length)
  return second === undefined ? length : length + 2 + Buffer.byteLength(second)
}

function writePart (block: Buffer, offset: number, [id, value, second]: Part): number {
  block[offset++] = id
  if (typeof value === 'number') {
    return id === MESSAGE_EXPIRY_INTERVAL ? block.writeUInt32BE(value, offset) : block.writeUInt8(value, offset)
  }
  if (typeof value === 'string') offset = writeText(block, offset, value)
  else {
    offset = block.writeUInt16BE(value.length, offset)
    block.set(value, offset)
    offset += value.length
  }
  return second === undefined ? offset : writeText(block, offset, second)
}

function writeText (block: Buffer, offset: number, value: string): number {
  const length = block.write(value, offset + 2)
  block.writeUInt16BE(length, offset)
  return offset + 2 + length
}

/** Where {@link decodeProperties} puts what it finds. */
export interface PropertyTarget {
  properties: ReceivedProperties | undefined
  subscriptionIds: readonly number[] | undefined
}

/**
 * Reads the content of a PUBLISH's property block, its length not included (MQTT 5 section 3.3.2.3).
 *
 * A response topic with wildcards is let through: brokers pass on what any publisher wrote there (mosquitto does),
 * and nobody's message may cost us the connection. Whoever replies to it has it checked as a topic then.
 */
export function decodeProperties (buffer: Buffer, start: number, end: number, target: PropertyTarget): void {
  const cursor = new Cursor(buffer, start, end)
  let properties: ReceivedProperties | undefined
  let ids: number[] | undefined
  let seen = 0
  while (cursor.at < end) {
    const id = cursor.byte()
    if (id === SUBSCRIPTION_IDENTIFIER) {
      const value = cursor.varint()
      if (value === 0) throw new MalformedPacket('Subscription identifier 0', MalformedReason.PROTOCOL_ERROR)
      if (ids === undefined) ids = [value]
      else ids.push(value)
      continue
    }
    properties ??= {}
    if (id === USER_PROPERTY) {
      addUser(properties.userProperties ??= Object.create(null) as Record<string, string | string[]>, cursor)
      continue
    }
    decodeOne(properties, id, cursor)
    // All that get here are below 32.
    if ((seen & 1 << id) !== 0) throw new MalformedPacket('A property occurs twice', MalformedReason.PROTOCOL_ERROR)
    seen |= 1 << id
  }
  target.properties = properties
  target.subscriptionIds = ids
}

function decodeOne (properties: ReceivedProperties, id: number, cursor: Cursor): void {
  switch (id) {
    case PAYLOAD_FORMAT_INDICATOR: {
      const value = cursor.byte()
      if (value > 1) throw new MalformedPacket('Payload format indicator over 1', MalformedReason.PROTOCOL_ERROR)
      properties.payloadFormatIndicator = value === 1
      return
    }
    case MESSAGE_EXPIRY_INTERVAL:
      properties.messageExpiryInterval = cursor.uint16() * 65_536 + cursor.uint16()
      return
    case CONTENT_TYPE:
      properties.contentType = cursor.string()
      return
    case RESPONSE_TOPIC:
      properties.responseTopic = cursor.string()
      return
    case CORRELATION_DATA:
      properties.correlationData = cursor.binary()
      return
    case TOPIC_ALIAS:
      throw new MalformedPacket('A topic alias, and none was allowed', MalformedReason.TOPIC_ALIAS_INVALID)
    default:
      throw new MalformedPacket('Unknown property')
  }
}

function addUser (properties: Record<string, string | string[]>, cursor: Cursor): void {
  const name = cursor.string()
  const value = cursor.string()
  const before = properties[name]
  if (before === undefined) properties[name] = value
  else if (typeof before === 'string') properties[name] = [before, value]
  else before.push(value)
}
