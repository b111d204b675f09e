/** This many slots before the head may be dead: cutting one off at each shift would be quadratic. */
const COMPACT_AT = 1024

/** First in, first out, in constant time. */
export class Fifo<T> {
  #items: T[]
  #head = 0

  constructor (items: T[] = []) {
    this.#items = items
  }

  get length (): number {
    return this.#items.length - this.#head
  }

  get first (): T | undefined {
    return this.#items[this.#head]
  }

  get last (): T | undefined {
    return this.#head === this.#items.length ? undefined : this.#items.at(-1)
  }

  push (item: T): void {
    this.#items.push(item)
  }

  shift (): T | undefined {
    if (this.#head === this.#items.length) return undefined
    const item = this.#items[this.#head]!
    // What has left must not be kept alive by its slot.
    this.#items[this.#head++] = undefined as T
    if (this.#head === this.#items.length) {
      this.#items = []
      this.#head = 0
    } else if (this.#head >= COMPACT_AT && this.#head * 2 >= this.#items.length) {
      this.#items = this.#items.slice(this.#head)
      this.#head = 0
    }
    return item
  }

  /** Puts what `change` gives in the place of each item; undefined takes it out. */
  replace (change: (item: T) => T | undefined): void {
    const items: T[] = []
    for (const item of this) {
      const changed = change(item)
      if (changed !== undefined) items.push(changed)
    }
    this.#items = items
    this.#head = 0
  }

  * [Symbol.iterator] (): IterableIterator<T> {
    for (let i = this.#head; i < this.#items.length; i++) yield this.#items[i]!
  }
}
