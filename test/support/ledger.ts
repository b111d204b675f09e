/** What a ledger found. Each list is in ascending order. */
export interface LedgerReport {
  /** Confirmed to the sender, and not received. */
  lost: number[]
  /** Received more than once. */
  duplicated: number[]
  /** Received, and never handed out by this ledger. */
  foreign: number[]
  /** Received for the first time after a higher number. */
  reordered: number[]
}

/** Numbered messages: what was confirmed to their sender, held against what came out at the other end. */
export class Ledger {
  #last = 0
  readonly #confirmed = new Set<number>()
  /** Number of times each was received, in the order of the first. */
  readonly #received = new Map<number, number>()

  /** The number of the next message; the first is 1. */
  next (): number {
    return ++this.#last
  }

  /** The sender was told that this one is safe. */
  confirmed (n: number): void {
    this.#confirmed.add(n)
  }

  /** This one came out at the other end. */
  received (n: number): void {
    this.#received.set(n, (this.#received.get(n) ?? 0) + 1)
  }

  /** How many numbers were handed out, confirmed, and received at least once. */
  get counts (): { sent: number, confirmed: number, received: number } {
    return { sent: this.#last, confirmed: this.#confirmed.size, received: this.#received.size }
  }

  report (): LedgerReport {
    const received = [...this.#received.keys()]
    const isForeign = (n: number): boolean => !Number.isInteger(n) || n < 1 || n > this.#last
    let highest = 0
    const reordered = received.filter(n => {
      if (isForeign(n)) return false
      const late = n < highest
      highest = Math.max(highest, n)
      return late
    })
    return {
      lost: [...this.#confirmed].filter(n => !this.#received.has(n)).sort(ascending),
      duplicated: received.filter(n => (this.#received.get(n) ?? 0) > 1).sort(ascending),
      foreign: received.filter(isForeign).sort(ascending),
      reordered: reordered.sort(ascending)
    }
  }
}

function ascending (a: number, b: number): number {
  return a - b
}
