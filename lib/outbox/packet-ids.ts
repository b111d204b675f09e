const FREE = 0
const USED = 1
/** Free here, and perhaps not at the broker. */
const DOUBTFUL = 2

/** Packet identifiers from `first` on. One is handed out again only after it was given back. */
export class PacketIds {
  readonly #first: number
  readonly #states: Uint8Array
  /** How many are not in doubt: in use, or free to be used. */
  #trusted: number
  #next = 0

  constructor (first: number, count: number) {
    this.#first = first
    this.#states = new Uint8Array(count)
    this.#trusted = count
  }

  get trusted (): number {
    return this.#trusted
  }

  /** A free identifier; the outbox's window is smaller than the range, so there always is one. */
  allocate (): number {
    const states = this.#states
    while (states[this.#next] !== FREE) this.#next = (this.#next + 1) % states.length
    const slot = this.#next
    states[slot] = USED
    this.#next = (slot + 1) % states.length
    return this.#first + slot
  }

  release (id: number): void {
    this.#states[id - this.#first] = FREE
  }

  /** Gives one back, but not to be handed out before it is trusted. */
  doubt (id: number): void {
    this.#states[id - this.#first] = DOUBTFUL
    this.#trusted--
  }

  /** The same for all that are not in use. */
  doubtAll (): void {
    for (let slot = 0; slot < this.#states.length; slot++) {
      if (this.#states[slot] === FREE) this.doubt(this.#first + slot)
    }
  }

  trust (id: number): void {
    this.release(id)
    this.#trusted++
  }

  trustAll (): void {
    for (const id of this.doubtful(this.#states.length)) this.trust(id)
  }

  /** Up to `count` that are in doubt. */
  doubtful (count: number): number[] {
    const ids: number[] = []
    for (let slot = 0; slot < this.#states.length && ids.length < count; slot++) {
      if (this.#states[slot] === DOUBTFUL) ids.push(this.#first + slot)
    }
    return ids
  }
}
