/** Limits of reconnecting, in milliseconds. */
export interface BackoffOptions {
  min: number
  max: number
}

/** A connection that held this long starts over with the shortest wait. */
const STABLE = 10_000

/** How long to wait before the next attempt: exponential with full jitter, so that a fleet does not come back at once. */
export class Backoff {
  readonly #options: BackoffOptions
  readonly #random: () => number
  #attempt = 0

  constructor (options: BackoffOptions, random: () => number = Math.random) {
    this.#options = options
    this.#random = random
  }

  /** Milliseconds until the next attempt. */
  next (): number {
    const { min, max } = this.#options
    const ceiling = Math.min(max, min * 2 ** Math.min(this.#attempt++, 30))
    return Math.round(this.#random() * ceiling)
  }

  /** For a broker that said no: asking again soon would only be told the same. */
  slow (): number {
    return Math.round(this.#options.max * (0.5 + this.#random() / 2))
  }

  /** A connection that was up for `uptime` milliseconds has ended. */
  ended (uptime: number): void {
    if (uptime >= STABLE) this.#attempt = 0
  }
}
