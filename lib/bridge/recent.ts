/** Workers that are remembered: whatever is still on its way from one of them comes long before so many others have. */
const LIMIT = 1000

/** The latest so many keys, each with a value. */
export class Recent<V> {
  readonly #map = new Map<string, V>()

  get (key: string): V | undefined {
    return this.#map.get(key)
  }

  /** Forgets those with such a value. */
  forget (matches: (value: V) => boolean): void {
    for (const [key, value] of this.#map) if (matches(value)) this.#map.delete(key)
  }

  set (key: string, value: V): void {
    this.#map.set(key, value)
    if (this.#map.size > LIMIT) this.#map.delete(this.#map.keys().next().value!)
  }
}
