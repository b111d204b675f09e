/** MQTT 5 section 3.8.2.1.2: 1 to 268 435 455. */
const MAX_ID = 268_435_455
/** Where filters come and go all the time, the oldest are forgotten: their copies are long here. */
const MOST_LEFT = 10_000

/**
 * Subscription identifiers, made from the filter itself (FNV-1a). A kept session gives back messages with the
 * identifiers of an earlier run, so they must not depend on the order in which routes are declared.
 */
export class SubscriptionIds {
  readonly #used = new Map<number, string>()
  /** Of filters that nobody wants any more: the broker may have sent copies for them before it knew, and they are no other filter's. */
  readonly #left = new Map<number, string>()

  allocate (filter: string): number {
    let hash = 0x811c9dc5
    for (let i = 0; i < filter.length; i++) hash = Math.imul(hash ^ filter.charCodeAt(i), 0x01000193) >>> 0
    let id = hash % MAX_ID + 1
    while ((this.#used.get(id) ?? this.#left.get(id) ?? filter) !== filter) id = id % MAX_ID + 1
    this.#left.delete(id)
    this.#used.set(id, filter)
    return id
  }

  /** Of those that are wanted. */
  filterOf (id: number): string | undefined {
    return this.#used.get(id)
  }

  has (id: number): boolean {
    return this.#used.has(id) || this.#left.has(id)
  }

  release (id: number): void {
    const filter = this.#used.get(id)
    if (filter === undefined) return
    this.#used.delete(id)
    this.#left.set(id, filter)
    if (this.#left.size > MOST_LEFT) this.#left.delete(this.#left.keys().next().value!)
  }

  /** The broker has a new session, and sends nothing for those that were left. */
  forget (): void {
    this.#left.clear()
  }
}
