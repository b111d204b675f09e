/**
 * Memory of somebody else's that frames lie in. It goes back as soon as nothing here needs it: each delivery in it has
 * settled, and each write of it is over, since a socket reads it where it lies.
 */
export class Lease {
  readonly #onFree: () => void
  /** The first is that of whoever makes it. */
  #holds = 1

  constructor (onFree: () => void) {
    this.#onFree = onFree
  }

  hold (): void {
    this.#holds++
  }

  release (): void {
    if (--this.#holds === 0) this.#onFree()
  }
}
