import { topicNameError } from '../topics/topic.ts'
import { decodeText } from '../wire/cursor.ts'
import type { Frame } from '../wire/encode.ts'
import { MalformedPacket } from '../wire/malformed.ts'
import { varintLength, writeVarint, type ProtocolVersion } from '../wire/packet.ts'
import { readFrame, type FrameLayout } from '../wire/rewrite.ts'

/**
 * Reads the next frame that a worker encoded, with everything checked that must hold when it lies among the frames of
 * others. That includes where its properties end: they are cut out for a version that has none.
 *
 * @throws MalformedPacket
 */
export function readWorkerFrame (buffer: Buffer, start: number, version: ProtocolVersion): FrameLayout {
  const layout = readFrame(buffer, start, buffer.length)
  if (layout.topicStart === layout.topicEnd) throw new MalformedPacket('A frame without a topic')
  if (version === 5) checkProperties(buffer, layout)
  return layout
}

function checkProperties (buffer: Buffer, { qos, idAt, end }: FrameLayout): void {
  const start = qos === 0 ? idAt : idAt + 2
  let length = 0
  for (let p = start, shift = 0; p < end && shift < 28; shift += 7) {
    const byte = buffer[p++]!
    length |= (byte & 127) << shift
    if (byte < 128) {
      if (p + length > end) break
      return
    }
  }
  throw new MalformedPacket('A frame whose properties go past its end')
}

/**
 * The topic of a frame, checked as one that `publish` is given: a broker ends the connection of everybody over some.
 *
 * @throws MalformedPacket
 */
export function topicOf ({ buffer, start }: Frame, version: ProtocolVersion): string {
  const { topicStart, topicEnd } = readWorkerFrame(buffer, start, version)
  const topic = decodeText(buffer, topicStart, topicEnd)
  if (topicNameError(topic) !== null) throw new MalformedPacket('A frame with what is no topic')
  return topic
}

/**
 * Takes so many bytes off the front of a frame's topic, in place: the header moves up to what is left. This is for a
 * worker that was told of a connection which has since been closed, and another with another prefix opened.
 */
export function stripTopic ({ buffer, start }: Frame, version: ProtocolVersion, length: number): Frame {
  const { topicStart, topicEnd, end } = readWorkerFrame(buffer, start, version)
  const topicLength = topicEnd - topicStart - length
  if (topicLength <= 0) throw new MalformedPacket('A topic shorter than its prefix')
  const topicAt = topicStart + length - 2
  const remaining = end - topicAt
  const header = buffer[start]!
  const newStart = topicAt - varintLength(remaining) - 1
  buffer[newStart] = header
  writeVarint(buffer, newStart + 1, remaining)
  buffer.writeUInt16BE(topicLength, topicAt)
  return { buffer, start: newStart, end }
}
