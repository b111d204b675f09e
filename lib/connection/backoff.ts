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

/** A filter that the broker hangs up on is tried again after so many times the first wait at most. */
const MOST_WAITS = 64

/** Milliseconds until what costs a connection each time is tried again: they double with each time, counted from 0. */
export function restFor (times: number, first: number): number {
  return first * Math.min(2 ** times, MOST_WAITS)
}
