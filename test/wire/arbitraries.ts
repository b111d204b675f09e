import { inspect } from 'node:util'
import fc from 'fast-check'
import mqttPacket, { type IPublishPacket, type Packet } from 'mqtt-packet'
import { ackId, ackReasonCode } from '../../lib/wire/acks.ts'
import { decodePublish } from '../../lib/wire/decode.ts'
import { Framer, type FramerLimits } from '../../lib/wire/framer.ts'
import { MalformedPacket } from '../../lib/wire/malformed.ts'
import { PacketType, type ProtocolVersion, type PublishProperties, type QoS } from '../../lib/wire/packet.ts'
import { unwelcomeCharacter } from '../../lib/topics/text.ts'
import { random } from '../support/random.ts'

/** A publish as a user would ask for it. */
export interface PublishCase {
  topic: string
  payload: string | Buffer
  qos: QoS
  retain: boolean
  packetId: number
  properties: PublishProperties | undefined
}

const text = (constraints: fc.StringConstraints = {}): fc.Arbitrary<string> =>
  fc.oneof(fc.string(constraints), fc.string({ unit: 'binary', ...constraints }))
    .filter(value => unwelcomeCharacter(value) === null && value.length >= (constraints.minLength ?? 0))

export const bytes = (maxLength = 300): fc.Arbitrary<Buffer> => fc.uint8Array({ maxLength }).map(value => Buffer.from(value))

export const topicName: fc.Arbitrary<string> = text({ minLength: 1, maxLength: 80 }).map(value => value.replace(/[+#]/g, '/'))

// mqtt-packet loses an empty value when its name occurs again.
const userProperties = fc.dictionary(text({ maxLength: 12 }), fc.oneof(
  text({ minLength: 1, maxLength: 60 }),
  fc.array(text({ minLength: 1, maxLength: 20 }), { minLength: 2, maxLength: 4 })
), { maxKeys: 4 })

export const publishProperties: fc.Arbitrary<PublishProperties> = fc.record({
  payloadFormatIndicator: fc.boolean(),
  messageExpiryInterval: fc.integer({ min: 0, max: 0xffff_ffff }),
  contentType: text({ maxLength: 40 }),
  responseTopic: topicName,
  correlationData: bytes(80),
  userProperties: userProperties.filter(value => Object.keys(value).length > 0)
}, { requiredKeys: [] })

export const publishCase = (version: ProtocolVersion): fc.Arbitrary<PublishCase> => fc.record({
  topic: topicName,
  payload: fc.oneof(text(), fc.string({ unit: 'binary' }), bytes()),
  qos: fc.constantFrom<QoS>(0, 1, 2),
  retain: fc.boolean(),
  packetId: fc.integer({ min: 1, max: 65_535 }),
  properties: version === 5 ? fc.option(publishProperties, { nil: undefined }) : fc.constant(undefined)
})

/** The same publish as mqtt-packet has it. */
export function reference (one: PublishCase, extra: Partial<IPublishPacket> = {}): IPublishPacket {
  const packet: IPublishPacket = {
    cmd: 'publish', topic: one.topic, payload: one.payload, qos: one.qos, retain: one.retain, dup: false, ...extra
  }
  if (one.qos > 0) packet.messageId = one.packetId
  if (one.properties !== undefined) packet.properties = { ...one.properties } as NonNullable<IPublishPacket['properties']>
  return packet
}

/** The bytes that mqtt-packet makes of a packet. */
export function generate (packet: Packet, version: ProtocolVersion): Buffer {
  return mqttPacket.generate(packet, { protocolVersion: version })
}

/** What mqtt-packet reads in the bytes; throws what it reports. */
export function parse (wire: Buffer, version: ProtocolVersion): Packet[] {
  const packets: Packet[] = []
  const parser = mqttPacket.parser({ protocolVersion: version })
  let failure: Error | undefined
  parser.on('packet', packet => packets.push(packet))
  parser.on('error', (error: Error) => { failure ??= error })
  parser.parse(wire)
  if (failure !== undefined) throw failure
  return packets
}

/** Any packet that a broker sends once a client is connected, as bytes. */
export const brokerPacket = (version: ProtocolVersion): fc.Arbitrary<Buffer> => {
  const messageId = fc.integer({ min: 1, max: 65_535 })
  const ack = fc.record({
    cmd: fc.constantFrom('puback' as const, 'pubrec' as const, 'pubrel' as const, 'pubcomp' as const),
    messageId,
    reasonCode: version === 5 ? fc.constantFrom(0, 0x10, 0x87) : fc.constant(0)
  })
  const suback = messageId.map(id => ({ cmd: 'suback' as const, messageId: id, granted: [0, 1, 2, 128] }))
  return fc.oneof(
    publishCase(version).map(one => reference(one)),
    ack,
    suback,
    fc.constant({ cmd: 'pingresp' as const }),
    fc.constant({ cmd: 'connack' as const, sessionPresent: false, returnCode: 0, reasonCode: 0 })
  ).map(packet => generate(packet as Packet, version))
}

/** Cuts a buffer at the given places, which are taken modulo its length. */
export function split (wire: Buffer, places: readonly number[]): Buffer[] {
  const cuts = [...new Set(places.map(place => place % (wire.length + 1)))].sort((a, b) => a - b)
  const chunks: Buffer[] = []
  let start = 0
  for (const cut of [...cuts, wire.length]) {
    // On its own memory, as a socket would give it.
    chunks.push(Buffer.from(wire.subarray(start, cut)))
    start = cut
  }
  return chunks
}

/** What came out of a framer: each packet's bytes, or the head and whole length of one that was too large. */
export type Delivered = { packet: Buffer } | { head: Buffer, length: number }

/** Runs chunks through a framer and, as the tap does, through the decoders. */
export function deliver (chunks: readonly Buffer[], version: ProtocolVersion, limits: FramerLimits): { delivered: Delivered[], error: unknown } {
  const delivered: Delivered[] = []
  let error: unknown
  const framer = new Framer({
    onPacket (buffer, start, bodyStart, end) {
      delivered.push({ packet: Buffer.from(buffer.subarray(start, end)) })
      const type = buffer[start]! >> 4
      if (type === PacketType.PUBLISH) decodePublish(buffer, start, bodyStart, end, version)
      else if (type >= PacketType.PUBACK && type <= PacketType.PUBCOMP) {
        ackId(buffer, bodyStart, end, version)
        ackReasonCode(buffer, bodyStart, end)
      }
    },
    onOversize (head, bodyStart, remainingLength) {
      delivered.push({ head: Buffer.from(head), length: bodyStart + remainingLength })
      decodePublish(head, 0, bodyStart, head.length, 4)
    }
  }, limits)
  for (const chunk of chunks) {
    const before = delivered.length
    try {
      framer.push(chunk)
    } catch (thrown) {
      if (error !== undefined) throw new Error('thrown twice', { cause: thrown })
      error = thrown
      continue
    }
    if (error !== undefined && delivered.length > before) throw new Error('delivered after an error')
  }
  return { delivered, error }
}

/** A broken stream: its bytes, and the chunks that they come in. */
export interface MutatedStream {
  wire: Buffer
  chunks: Buffer[]
}

/**
 * Streams of one to four packets that a broker could send, mutated in one to three places (bits flipped, bytes set, inserted or
 * taken out, cut off, doubled) and split anywhere. The same seed and version give the same streams.
 */
export function * mutatedStreams (seed: number, count: number, version: ProtocolVersion): Generator<MutatedStream> {
  const next = random(seed)
  const corpus = fc.sample(brokerPacket(version), { seed, numRuns: 500 })
  for (let run = 0; run < count; run++) {
    let wire: Buffer = Buffer.concat(Array.from({ length: 1 + next(4) }, () => corpus[next(corpus.length)]!))
    for (let i = next(3); i >= 0; i--) wire = mutate(wire, next)
    yield { wire, chunks: split(wire, Array.from({ length: next(4) }, () => next(wire.length + 1))) }
  }
}

const telling = [0, 1, 2, 0x0b, 0x23, 0x26, 0x2b, 0x30, 0x32, 0x36, 0x40, 0x7f, 0x80, 0xc0, 0xff]

function mutate (wire: Buffer, next: (below: number) => number): Buffer {
  if (wire.length === 0) return wire
  // Half of the time at the beginning, where the lengths are.
  const at = next(2) === 0 ? next(Math.min(wire.length, 12)) : next(wire.length)
  switch (next(7)) {
    case 0:
      wire[at]! ^= 1 << next(8)
      return wire
    case 1:
      wire[at] = telling[next(telling.length)]!
      return wire
    case 2:
      wire[at] = next(256)
      return wire
    case 3: return Buffer.concat([wire.subarray(0, at), Buffer.from([telling[next(telling.length)]!]), wire.subarray(at)])
    case 4: return Buffer.concat([wire.subarray(0, at), wire.subarray(at + 1 + next(3))])
    case 5: return wire.subarray(0, at)
    default: return Buffer.concat([wire.subarray(0, at), wire.subarray(at >> 1)])
  }
}

/**
 * Runs one broken stream and says what is wrong, or null: nothing but a MalformedPacket is thrown, only once, and what was
 * delivered is the stream itself, packet by packet from its beginning, none skipped and none made up.
 */
export function checkMutated ({ wire, chunks }: MutatedStream, version: ProtocolVersion): string | null {
  const valid = Buffer.from([0x30, 4, 0, 1, 0x61, 0])
  const { delivered, error } = deliver([...chunks, valid], version, { maxPublish: 2000, maxControl: 1000 })
  if (error !== undefined && !(error instanceof MalformedPacket)) return `threw ${inspect(error)}`
  const stream = Buffer.concat([wire, valid])
  let offset = 0
  for (const one of delivered) {
    const seen = 'packet' in one ? one.packet : one.head
    if (!stream.subarray(offset, offset + seen.length).equals(seen)) return `made up a packet at ${offset}`
    offset += 'packet' in one ? one.packet.length : one.length
  }
  return null
}
