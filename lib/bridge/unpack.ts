import { Packet } from '../outbox/packet.ts'
import { Cursor } from '../wire/cursor.ts'
import type { Frame } from '../wire/encode.ts'
import { MalformedPacket } from '../wire/malformed.ts'
import type { NativeBuffer, ProtocolVersion, PublishProperties } from '../wire/packet.ts'
import { decodeProperties, type PropertyTarget } from '../wire/properties.ts'
import { readWorkerFrame } from './frames.ts'

/**
 * A frame as hooks see it. Its payload is read where it lies.
 *
 * @throws MalformedPacket
 */
export function unpack ({ buffer, start }: Frame, version: ProtocolVersion): Packet {
  const { topicStart, topicEnd, qos, retain, idAt, end } = readWorkerFrame(buffer, start, version)
  const topic = (buffer as NativeBuffer).utf8Slice(topicStart, topicEnd)
  const cursor = new Cursor(buffer, qos === 0 ? idAt : idAt + 2, end)
  const properties = version === 5 ? readProperties(buffer, cursor) : {}
  return new Packet(topic, buffer.subarray(cursor.at, end), qos, retain, properties)
}

function readProperties (buffer: Buffer, cursor: Cursor): PublishProperties {
  const length = cursor.varint()
  const start = cursor.at
  cursor.at += length
  const found: PropertyTarget = { properties: undefined, subscriptionIds: undefined }
  decodeProperties(buffer, start, cursor.at, found)
  if (found.subscriptionIds !== undefined) throw new MalformedPacket('A frame with a subscription identifier')
  const { correlationData, userProperties, ...rest } = found.properties ?? {}
  return {
    ...rest,
    // A copy: it is a view on the publishes around it.
    ...(correlationData !== undefined && { correlationData: Buffer.from(correlationData) }),
    ...(userProperties !== undefined && { userProperties: { ...userProperties } })
  }
}
