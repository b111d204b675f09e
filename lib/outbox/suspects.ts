import type { Delivery } from './delivery.ts'

/** A publish is sent so often before it is taken for what the broker hangs up on. */
const TRIES = 3
/** The same on a network that ends connections for no reason of ours. */
const TRIES_WHEN_FLAPPING = 6
/** A connection that held this long, in milliseconds: the network does not flap. */
const STABLE = 10_000

/** Finds the publish that a broker answers by hanging up, among those that merely were there. */
export class Suspects {
  /** What is in flight is sent again one by one. */
  probing = false
  /** A suspect was innocent: connections end by themselves here. */
  #flapping = false
  #attachedAt = 0

  attached (): void {
    this.#attachedAt = performance.now()
  }

  detached (): void {
    if (performance.now() - this.#attachedAt >= STABLE) this.#flapping = false
  }

  /**
   * The broker hung up while these were open, the oldest first. With several it could be for any of them; when the oldest
   * has been there twice, they go one by one the next time. Returns the one that was alone and has been tried often enough.
   */
  accuse (open: readonly Delivery[]): Delivery | undefined {
    for (const delivery of open) delivery.tries++
    const [oldest] = open
    if (oldest === undefined) return undefined
    this.probing = oldest.tries >= TRIES - 1
    if (open.length !== 1) return undefined
    oldest.suspected = true
    return oldest.tries >= (this.#flapping ? TRIES_WHEN_FLAPPING : TRIES) ? oldest : undefined
  }

  /** The broker has answered it. */
  acquit (delivery: Delivery): void {
    if (delivery.suspected) this.#flapping = true
    delivery.suspected = false
    delivery.tries = 0
  }
}
