/** MQTT 5 section 3.8.2.1.2: 1 to 268 435 455. */
const MAX_ID = 268_435_455

/**
 * Subscription identifiers, made from the filter itself (FNV-1a). A kept session gives back messages with the
 * identifiers of an earlier run, so they must not depend on the order in which routes are declared.
 */
export class SubscriptionIds {
  readonly #used = new Map<number, string>()

  allocate (filter: string): number {
    let hash = 0x811c9dc5
    for (let i = 0; i < filter.length; i++) hash = Math.imul(hash ^ filter.charCodeAt(i), 0x01000193) >>> 0
    let id = hash % MAX_ID + 1
    while (this.#used.has(id) && this.#used.get(id) !== filter) id = id % MAX_ID + 1
    this.#used.set(id, filter)
    return id
  }

  has (id: number): boolean {
    return this.#used.has(id)
  }

  release (id: number): void {
    this.#used.delete(id)
  }
}
