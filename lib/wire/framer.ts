import { MalformedPacket, MalformedReason } from './malformed.ts'
import { PacketType } from './packet.ts'

/** Who gets the packets. What it throws comes out of {@link Framer.push}, and ends the delivery. */
export interface FrameSink {
  /** A whole packet: its fixed header at `start`, the rest from `bodyStart` up to `end`. */
  onPacket (buffer: Buffer, start: number, bodyStart: number, end: number): void
  /**
   * The head of a PUBLISH that is too large, up to its topic and packet id; the rest is skipped as it comes in.
   * `remainingLength` is that of the whole packet.
   */
  onOversize (head: Buffer, bodyStart: number, remainingLength: number): void
}

/** The largest remaining lengths that are let in (MQTT 5 section 2.1.4). */
export interface FramerLimits {
  /** A larger PUBLISH is skipped. */
  maxPublish: number
  /** A larger packet of any other type is malformed. */
  maxControl: number
}

/** Which first bytes there may be: types and the flags that go with them (MQTT 5 section 2.1.3, 3.3.1). */
const allowedFirst = new Uint8Array(256)
for (let type = 1; type < 16; type++) {
  const fixed = type === PacketType.PUBREL || type === PacketType.SUBSCRIBE || type === PacketType.UNSUBSCRIBE ? 2 : 0
  if (type !== PacketType.PUBLISH) allowedFirst[type << 4 | fixed] = 1
}
// Not QoS 3, and DUP only with QoS 1 and 2.
for (const flags of [0, 1, 2, 3, 4, 5, 10, 11, 12, 13]) allowedFirst[PacketType.PUBLISH << 4 | flags] = 1

/**
 * Cuts a stream of bytes into packets by their fixed headers (MQTT 5 section 2.1). A packet that lies in one chunk is
 * given as a view of it; one that does not is collected in memory of just its size. After a malformed packet, or a
 * sink that threw, nothing more is delivered.
 */
export class Framer {
  readonly #sink: FrameSink
  readonly #maxPublish: number
  readonly #maxControl: number
  #stopped = false
  #running = false
  /** Chunks that came while one was being delivered. */
  #waiting: Buffer[] = []
  /** The start of what is not whole yet, as many bytes as are needed to go on, and how many there are. */
  #part: Buffer | null = null
  #have = 0
  /** How many bytes of a PUBLISH that is too large are still to come. */
  #skip = 0
  /** What {@link #measure} found out. */
  #bodyStart = 0
  #remaining = 0
  #complete = false
  #oversize = false

  constructor (sink: FrameSink, limits: FramerLimits) {
    this.#sink = sink
    this.#maxPublish = limits.maxPublish
    this.#maxControl = limits.maxControl
  }

  /** The next bytes of the stream. Throws MalformedPacket, and whatever the sink throws. */
  push (chunk: Buffer): void {
    if (this.#stopped) return
    if (this.#running) {
      // In memory, the answer to a packet can arrive while the packet's chunk is still being read.
      this.#waiting.push(chunk)
      return
    }
    this.#running = true
    try {
      this.#read(chunk)
      while (this.#waiting.length > 0) this.#read(this.#waiting.shift()!)
    } catch (error) {
      this.stop()
      throw error
    } finally {
      this.#running = false
    }
  }

  /** Ends the delivery at once, also from within the sink. */
  stop (): void {
    this.#stopped = true
    this.#part = null
    this.#waiting = []
  }

  #read (chunk: Buffer): void {
    const length = chunk.length
    let p = 0
    if (this.#skip > 0) p = this.#skipOver(0, length)
    if (this.#part !== null) p = this.#fill(chunk, p)
    while (p < length && !this.#stopped) {
      const need = this.#measure(chunk, p, length)
      if (!this.#complete || need > length - p) {
        this.#hold(chunk, p, length, need)
        return
      }
      if (this.#oversize) {
        this.#deliverOversize(chunk.subarray(p, p + need), this.#bodyStart - p)
        p = this.#skipOver(p + need, length)
      } else {
        // First, so that the sink may stop or push more.
        const start = p
        p += need
        this.#sink.onPacket(chunk, start, this.#bodyStart, p)
      }
    }
  }

  /**
   * How many bytes from `start` have to be there to go on. When #complete, that is the packet, or the head of one
   * that is too large; otherwise only with so many bytes can more be said.
   */
  #measure (buffer: Buffer, start: number, limit: number): number {
    this.#complete = false
    this.#oversize = false
    const first = buffer[start]!
    if (allowedFirst[first] === 0) {
      throw new MalformedPacket('A packet of unknown type, or with flags that its type does not have')
    }
    let p = start + 1
    let remaining = 0
    for (let shift = 0; ; shift += 7) {
      if (p === limit) return p + 1 - start
      const byte = buffer[p++]!
      remaining |= (byte & 127) << shift
      if (byte < 128) break
      if (shift === 21) throw new MalformedPacket('A remaining length of more than four bytes')
    }
    this.#bodyStart = p
    this.#remaining = remaining
    if (first >> 4 !== PacketType.PUBLISH) {
      if (remaining > this.#maxControl) throw new MalformedPacket('A packet over the limit', MalformedReason.TOO_LARGE)
    } else if (remaining > this.#maxPublish) return this.#measureHead(buffer, start, p, limit)
    this.#complete = true
    return p + remaining - start
  }

  #measureHead (buffer: Buffer, start: number, bodyStart: number, limit: number): number {
    this.#oversize = true
    const withId = (buffer[start]! & 6) === 0 ? 0 : 2
    if (this.#remaining < 2 + withId) throw headTooLong()
    if (bodyStart + 2 > limit) return bodyStart + 2 - start
    const head = 2 + (buffer[bodyStart]! << 8 | buffer[bodyStart + 1]!) + withId
    if (head > this.#remaining) throw headTooLong()
    this.#complete = true
    return bodyStart + head - start
  }

  /** Keeps the rest of the chunk, with room for what is missing. */
  #hold (chunk: Buffer, start: number, end: number, need: number): void {
    const part = Buffer.allocUnsafeSlow(need)
    this.#have = chunk.copy(part, 0, start, end)
    this.#part = part
  }

  /** Takes from the chunk what the part is missing, and returns where the chunk goes on. */
  #fill (chunk: Buffer, start: number): number {
    let p = start
    while (this.#part !== null && p < chunk.length) {
      const part = this.#part
      const taken = chunk.copy(part, this.#have, p)
      p += taken
      this.#have += taken
      if (this.#have < part.length) return p
      const need = this.#measure(part, 0, part.length)
      if (!this.#complete || need > part.length) this.#hold(part, 0, part.length, need)
      else {
        this.#part = null
        if (this.#oversize) {
          this.#deliverOversize(part, this.#bodyStart)
          return this.#skipOver(p, chunk.length)
        }
        this.#sink.onPacket(part, 0, this.#bodyStart, part.length)
      }
    }
    return p
  }

  #deliverOversize (head: Buffer, bodyStart: number): void {
    this.#skip = this.#remaining - (head.length - bodyStart)
    this.#sink.onOversize(head, bodyStart, this.#remaining)
  }

  #skipOver (start: number, end: number): number {
    const taken = Math.min(this.#skip, end - start)
    this.#skip -= taken
    return start + taken
  }
}

function headTooLong (): MalformedPacket {
  return new MalformedPacket('PUBLISH shorter than what it holds')
}
