import { isUtf8 } from 'node:buffer'
import { MalformedPacket } from './malformed.ts'
import type { NativeBuffer } from './packet.ts'

/** Reads the types of MQTT 5 section 1.5 one after the other, and never past the end. */
export class Cursor {
  readonly #buffer: Buffer
  readonly #end: number
  at: number

  constructor (buffer: Buffer, start: number, end: number) {
    this.#buffer = buffer
    this.#end = end
    this.at = start
  }

  /** Takes so many bytes, and returns where they start. */
  #take (length: number): number {
    const start = this.at
    if (length > this.#end - start) throw new MalformedPacket('A property goes past its block')
    this.at = start + length
    return start
  }

  byte (): number {
    return this.#buffer[this.#take(1)]!
  }

  uint16 (): number {
    const start = this.#take(2)
    return this.#buffer[start]! << 8 | this.#buffer[start + 1]!
  }

  varint (): number {
    let value = 0
    for (let shift = 0; shift < 28; shift += 7) {
      const byte = this.byte()
      value |= (byte & 127) << shift
      if (byte < 128) return value
    }
    throw new MalformedPacket('A variable byte integer of more than four bytes')
  }

  binary (): Buffer {
    const start = this.#take(this.uint16())
    return this.#buffer.subarray(start, this.at)
  }

  string (): string {
    const start = this.#take(this.uint16())
    return decodeText(this.#buffer, start, this.at)
  }
}

/** A string of a packet, refused unless it is UTF-8 without NUL (MQTT 5 section 1.5.4). */
export function decodeText (buffer: Buffer, start: number, end: number): string {
  const value = (buffer as NativeBuffer).utf8Slice(start, end)
  // Decoding never fails but leaves U+FFFD, which may also have been meant.
  if (value.includes('\ufffd') && !isUtf8(buffer.subarray(start, end))) {
    throw new MalformedPacket('A string that is not UTF-8')
  }
  if (value.includes('\0')) throw new MalformedPacket('A string that contains NUL')
  return value
}
