import { FIRST_OWN_ID } from '../wire/tap.ts'

const COUNT = 0x10000 - FIRST_OWN_ID

/** Packet identifiers 0x8000-0xffff. One is handed out again only after it was given back. */
export class PacketIds {
  readonly #used = new Uint8Array(COUNT)
  #next = 0

  /** A free identifier; the outbox's window is smaller than the range, so there always is one. */
  allocate (): number {
    while (this.#used[this.#next] === 1) this.#next = (this.#next + 1) % COUNT
    const slot = this.#next
    this.#used[slot] = 1
    this.#next = (slot + 1) % COUNT
    return FIRST_OWN_ID + slot
  }

  release (id: number): void {
    this.#used[id - FIRST_OWN_ID] = 0
  }
}
