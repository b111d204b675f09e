import { KEPT_MEMORY } from '../lib/bridge/protocol.ts'

/** Memory comes in multiples of this. */
export const UNIT = 64 * 1024

/**
 * Memory that goes to the main thread full and comes back when its bytes have left. To take fresh memory each time costs
 * more than all the rest of a large publish: every page of it has to be mapped and cleared first.
 */
export class Memory {
  readonly #free: ArrayBuffer[] = []
  #bytes = 0

  /** At least so many bytes, with anything in them that this thread has published before. */
  take (size: number): ArrayBuffer {
    const capacity = Math.ceil(size / UNIT) * UNIT
    // The last one that came back is the one that is still in the processor's cache.
    const found = this.#free.findLastIndex(({ byteLength }) => byteLength === capacity)
    if (found === -1) return new ArrayBuffer(capacity)
    this.#bytes -= capacity
    return this.#free.splice(found, 1)[0]!
  }

  /** It has come back. */
  give (buffer: ArrayBuffer): void {
    this.#free.push(buffer)
    this.#bytes += buffer.byteLength
    // Of sizes that are not asked for any more nothing is kept.
    while (this.#bytes > KEPT_MEMORY) this.#bytes -= this.#free.shift()!.byteLength
  }
}
