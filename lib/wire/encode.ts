import { FST_MQTT_PAYLOAD } from '../errors.ts'
import { MAX_VARINT, varintLength, writeVarint, type NativeBuffer, type ProtocolVersion, type QoS } from './packet.ts'

/** One encoded packet: the bytes of `buffer` from `start` up to `end`. */
export interface Frame {
  buffer: Buffer
  start: number
  end: number
}

// A subclass, or an own property, can say anything about the length of a view; the engine cannot.
const { get: trueLength } = Object.getOwnPropertyDescriptor(Object.getPrototypeOf(Uint8Array.prototype), 'length') as {
  get: (this: Uint8Array) => number
}

/** Up to here a loop over bytes beats the call of `set`: 8 bytes 27 and 36 ns, 16 bytes 31 and 21. */
const LOOP_LIMIT = 12

function remainingLength (
  topicLength: number, payloadLength: number, qos: QoS, version: ProtocolVersion, properties: Uint8Array | null
): number {
  const blockLength = properties === null ? 1 : properties.length
  return topicLength + payloadLength + (qos === 0 ? 0 : 2) + (version === 5 ? blockLength : 0)
}

/**
 * How many bytes the PUBLISH takes in all (MQTT 5 section 3.3). `topicLength` counts the two bytes of its length too.
 * Throws FST_MQTT_PAYLOAD when MQTT cannot say that length.
 */
export function publishLength (
  topicLength: number, payloadLength: number, qos: QoS, version: ProtocolVersion, properties: Uint8Array | null
): number {
  const remaining = remainingLength(topicLength, payloadLength, qos, version, properties)
  if (!(remaining <= MAX_VARINT)) {
    throw new FST_MQTT_PAYLOAD(`The payload is too large: with its topic it must not be over ${MAX_VARINT} bytes`)
  }
  return 1 + varintLength(remaining) + remaining
}

/** How many bytes a payload takes on the wire. */
export function payloadLength (payload: string | Uint8Array): number {
  return typeof payload === 'string' ? Buffer.byteLength(payload) : trueLength.call(payload)
}

/**
 * Writes a PUBLISH (MQTT 5 section 3.3) and returns where it ends. The target must have room for {@link publishLength}
 * bytes. `topic` has its two bytes of length in front; `properties` is a whole block or null, and is left out before
 * MQTT 5. The packet id is 0 until {@link setPacketId}.
 */
export function encodePublish (
  target: Buffer, offset: number, topic: Uint8Array, payload: string | Uint8Array, payloadLength: number,
  qos: QoS, retain: boolean, version: ProtocolVersion, properties: Uint8Array | null
): number {
  const remaining = remainingLength(topic.length, payloadLength, qos, version, properties)
  let p = offset
  target[p++] = 0x30 | qos << 1 | (retain ? 1 : 0)
  p = writeVarint(target, p, remaining)
  const end = p + remaining
  if (end > target.length) throw new RangeError('encodePublish: no room in the target')
  p = writeBytes(target, p, topic, topic.length)
  if (qos !== 0) {
    target[p++] = 0
    target[p++] = 0
  }
  if (version === 5) {
    if (properties === null) target[p++] = 0
    else p = writeBytes(target, p, properties, properties.length)
  }
  if (typeof payload !== 'string') p = writeBytes(target, p, payload, payloadLength)
  else if (payloadLength === payload.length) p += (target as NativeBuffer).latin1Write(payload, p, payloadLength)
  else p += (target as NativeBuffer).utf8Write(payload, p, payloadLength)
  // A frame whose bytes are not what its header says would hand the next one's bytes to this one's subscribers.
  if (p !== end) throw mismatch()
  return end
}

function writeBytes (target: Buffer, offset: number, bytes: Uint8Array, length: number): number {
  if (length <= LOOP_LIMIT) {
    for (let i = 0; i < length; i++) target[offset + i] = bytes[i]!
    return offset + length
  }
  if (trueLength.call(bytes) !== length) throw mismatch()
  target.set(bytes, offset)
  return offset + length
}

function mismatch (): Error {
  return new FST_MQTT_PAYLOAD('The payload is not as long as it says; nothing of it was sent')
}

/**
 * Where the packet id of an encoded PUBLISH is (MQTT 5 section 3.3.2.2). Only a frame with QoS 1 or 2 has one;
 * with QoS 0 this is where the id would be.
 */
export function packetIdOffset (buffer: Buffer, start: number): number {
  let p = start + 1
  while (buffer[p]! > 127) p++
  return p + 3 + (buffer[p + 1]! << 8 | buffer[p + 2]!)
}

/** Puts the packet id into an encoded PUBLISH with QoS 1 or 2 (MQTT 5 section 3.3.2.2). */
export function setPacketId (buffer: Buffer, start: number, id: number): void {
  const p = packetIdOffset(buffer, start)
  buffer[p] = id >> 8
  buffer[p + 1] = id & 255
}

/** Says that this PUBLISH may have been sent before (MQTT 5 section 3.3.1.1). Only for QoS 1 and 2. */
export function setDup (buffer: Buffer, start: number): void {
  buffer[start] = buffer[start]! | 0x08
}

const CHUNK = 65_536
/** A larger frame gets its own memory: at most a quarter of a chunk is left unused, and none is pinned by one frame. */
const OWN = 16_384

/**
 * Hands out room for frames. Small ones lie one after the other in a chunk, so that what is encoded in a row can
 * leave in one write. A chunk is never used again: it lives for as long as a frame in it does.
 */
export class Slab {
  /** Where the room given by the last {@link reserve} is. */
  buffer: Buffer
  #chunk: Buffer
  #used = 0

  constructor () {
    this.#chunk = this.buffer = Buffer.allocUnsafeSlow(0)
  }

  /** Makes room for so many bytes in {@link buffer} and returns where it starts. */
  reserve (length: number): number {
    if (length > OWN) {
      this.buffer = Buffer.allocUnsafeSlow(length)
      return 0
    }
    if (this.#used + length > this.#chunk.length) {
      this.#chunk = Buffer.allocUnsafeSlow(CHUNK)
      this.#used = 0
    }
    const start = this.#used
    this.#used = start + length
    this.buffer = this.#chunk
    return start
  }
}
