/** A filter on its way out. */
export interface Leaving {
  readonly filter: string
  /** How many hang-ups may come while UNSUBSCRIBE is unanswered. */
  readonly tries: number
  /** Nobody waits for the answer any more. */
  readonly done: () => void
}

/** After so many hang-ups in answer to UNSUBSCRIBE the filter is left to the broker: copies of it find no route. */
const TRIES = 3

/** The filters that the broker still has, and nobody wants any more. */
export class Unwanted {
  readonly #leaving = new Map<string, Leaving>()
  /** Of those: no UNSUBSCRIBE was sent on this connection. */
  readonly #unasked = new Set<Leaving>()

  /** True while an UNSUBSCRIBE is unanswered. */
  get asking (): boolean {
    return this.#leaving.size > this.#unasked.size
  }

  /**
   * Resolves when it is gone, or the connection is.
   *
   * @param shunned the broker has hung up in answer to SUBSCRIBE, and may do so again: it is tried once
   */
  leave (filter: string, shunned: boolean, connected: boolean): Promise<void> {
    return new Promise(resolve => {
      this.#add({ filter, tries: shunned ? 1 : TRIES, done: resolve })
      if (!connected) resolve()
    })
  }

  /** The next to send UNSUBSCRIBE for. */
  ask (): Leaving | undefined {
    const [leaving] = this.#unasked
    if (leaving !== undefined) this.#unasked.delete(leaving)
    return leaving
  }

  /** The broker has answered; false when it was wanted again meanwhile, or asked for again on another connection. */
  left (leaving: Leaving): boolean {
    return this.#leaving.get(leaving.filter) === leaving && this.#leaving.delete(leaving.filter)
  }

  /** It is wanted again; true when the broker may have it yet. */
  stay (filter: string): boolean {
    const leaving = this.#leaving.get(filter)
    if (leaving === undefined) return false
    leaving.done()
    this.#unasked.delete(leaving)
    return this.#leaving.delete(filter)
  }

  /** The connection is gone; `hungUp` when it was not us who ended it. */
  detach (hungUp: boolean): void {
    for (const leaving of [...this.#leaving.values()]) {
      const { filter, tries, done } = leaving
      done()
      const left = hungUp && !this.#unasked.delete(leaving) ? tries - 1 : tries
      if (left === 0) this.#leaving.delete(filter)
      else this.#add({ filter, tries: left, done: noop })
    }
  }

  /** The broker has forgotten them. */
  clear (): void {
    this.#leaving.clear()
    this.#unasked.clear()
  }

  /** Nobody waits for them any more. */
  close (): void {
    for (const { done } of this.#leaving.values()) done()
  }

  #add (leaving: Leaving): void {
    this.stay(leaving.filter)
    this.#leaving.set(leaving.filter, leaving)
    this.#unasked.add(leaving)
  }
}

function noop (): void {}
