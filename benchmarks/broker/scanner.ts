const PUBLISH = 3
const PUBACK = 4
const PUBREC = 5
const PUBREL = 6
const PUBCOMP = 7

/** No packet but PUBLISH is longer, nor is what stands before a payload. */
const HEAD = 4096

/** Who is told of the packets. */
export interface Sink {
  /** Bytes for the client: all acknowledgements of one read. */
  answer (bytes: Buffer): void
  /** PUBACK of the client. */
  acknowledged (packetId: number): void
  /** Any other packet, whole. */
  control (packet: Buffer): void
}

/**
 * Reads what a client sends as fast as one can: of a PUBLISH nothing is looked at but its length and packet id, and its
 * payload is neither copied nor kept.
 */
export class Scanner {
  published = 0
  bytes = 0
  readonly #sink: Sink
  /** The beginning of a packet whose head is not whole yet. */
  #head: Buffer | undefined
  /** How much of a PUBLISH is still to come, and what it is answered with then. */
  #skip = 0
  #owed = 0
  #answers = Buffer.allocUnsafe(128 * 1024)
  #end = 0

  constructor (sink: Sink) {
    this.#sink = sink
  }

  push (chunk: Buffer): void {
    // An acknowledgement has four bytes, and what it is for has more.
    if (this.#answers.length < chunk.length + 8) this.#answers = Buffer.allocUnsafe(chunk.length * 2)
    let p = 0
    if (this.#skip > 0) {
      p = Math.min(this.#skip, chunk.length)
      this.#skip -= p
      if (this.#skip === 0) this.#settle(this.#owed)
    }
    if (this.#head !== undefined && p < chunk.length) p = this.#completeHead(this.#head, chunk)
    while (p < chunk.length) {
      const next = this.#packet(chunk, p)
      if (next === -1) {
        this.#head = Buffer.from(chunk.subarray(p))
        break
      }
      p = next
    }
    if (this.#end === 0) return
    this.#sink.answer(Buffer.from(this.#answers.subarray(0, this.#end)))
    this.#end = 0
  }

  /** Puts the kept beginning and as much of the chunk together as a head can be long; returns where the chunk goes on. */
  #completeHead (head: Buffer, chunk: Buffer): number {
    const joined = Buffer.concat([head, chunk.subarray(0, HEAD)])
    const next = this.#packet(joined, 0)
    if (next === -1) {
      if (joined.length > 2 * HEAD) throw new Error('The null broker takes no packet so long')
      this.#head = joined
      return Math.min(HEAD, chunk.length)
    }
    this.#head = undefined
    if (next < joined.length || this.#skip === 0) return next - head.length
    // The packet goes on behind what was put together.
    const p = joined.length - head.length
    const taken = Math.min(this.#skip, chunk.length - p)
    this.#skip -= taken
    if (this.#skip === 0) this.#settle(this.#owed)
    return p + taken
  }

  /** Reads the packet at `start` and returns where it ends, no further than the buffer, or -1 when too little is there. */
  #packet (buffer: Buffer, start: number): number {
    const limit = buffer.length
    const first = buffer[start]!
    let p = start + 1
    let remaining = 0
    for (let shift = 0; ; shift += 7) {
      if (p === limit) return -1
      const byte = buffer[p++]!
      remaining |= (byte & 127) << shift
      if (byte < 128) break
    }
    const end = p + remaining
    const type = first >> 4
    if (type !== PUBLISH) {
      if (end > limit) return -1
      this.#other(type, buffer, start, p, end)
      return end
    }
    const qos = first >> 1 & 3
    let owed = 0
    if (qos !== 0) {
      if (p + 2 > limit) return -1
      const idAt = p + 2 + (buffer[p]! << 8 | buffer[p + 1]!)
      if (idAt + 2 > limit) return -1
      owed = (qos === 1 ? PUBACK : PUBREC) << 16 | buffer[idAt]! << 8 | buffer[idAt + 1]!
    }
    this.bytes += end - start
    if (end > limit) {
      this.#skip = end - limit
      this.#owed = owed
      return limit
    }
    this.#settle(owed)
    return end
  }

  /** A PUBLISH has come to its end. */
  #settle (owed: number): void {
    this.published++
    if (owed !== 0) this.#acknowledge(owed >> 16, owed & 0xffff)
  }

  #other (type: number, buffer: Buffer, start: number, body: number, end: number): void {
    const id = (): number => buffer[body]! << 8 | buffer[body + 1]!
    switch (type) {
      case PUBACK: return this.#sink.acknowledged(id())
      case PUBREL: return this.#acknowledge(PUBCOMP, id())
      default: return this.#sink.control(buffer.subarray(start, end))
    }
  }

  #acknowledge (type: number, id: number): void {
    const answers = this.#answers
    answers[this.#end++] = type << 4
    answers[this.#end++] = 2
    answers[this.#end++] = id >> 8
    answers[this.#end++] = id & 255
  }
}
