import type { Frame } from '../wire/encode.ts'
import type { Lease } from './lease.ts'

/** Collects packets for one write, in as few buffers as possible: frames that lie next to each other leave as one. */
export class Gather {
  readonly #packets: Buffer[] = []
  #buffer: Buffer | undefined
  #start = 0
  #end = 0
  /** Held, each once, until the write is over. */
  readonly leases: Lease[] = []

  frame ({ buffer, start, end, lease }: Frame & { readonly lease: Lease | undefined }): void {
    if (lease !== undefined && lease !== this.leases.at(-1)) {
      lease.hold()
      this.leases.push(lease)
    }
    if (buffer === this.#buffer && start === this.#end) {
      this.#end = end
      return
    }
    this.#close()
    this.#buffer = buffer
    this.#start = start
    this.#end = end
  }

  packet (packet: Buffer): void {
    this.#close()
    this.#packets.push(packet)
  }

  /** All of it, in order. */
  take (): Buffer[] {
    this.#close()
    return this.#packets
  }

  #close (): void {
    if (this.#buffer === undefined) return
    this.#packets.push(this.#buffer.subarray(this.#start, this.#end))
    this.#buffer = undefined
  }
}
