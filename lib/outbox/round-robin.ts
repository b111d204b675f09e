import type { Delivery } from './delivery.ts'
import type { Source } from './source.ts'

/** What a source may send before the next one has its turn, in bytes. */
const TURN = 16 * 1024

/** Sources that have something queued, served in turn (deficit round robin), so that none can starve another. */
export class RoundRobin {
  readonly #active: Source[] = []
  #turn = 0

  get empty (): boolean {
    return this.#active.length === 0
  }

  push (source: Source, delivery: Delivery): void {
    if (source.queue.length === 0) this.#active.push(source)
    source.queue.push(delivery)
  }

  /** Takes out up to `budget` bytes, of each source in order; a delivery that does not fit holds back its source. */
  serve (budget: number, fits: (delivery: Delivery) => boolean, send: (delivery: Delivery) => void): void {
    let blocked = 0
    while (this.#active.length > 0 && blocked < this.#active.length && budget > 0) {
      if (this.#turn >= this.#active.length) this.#turn = 0
      const source = this.#active[this.#turn]!
      const { queue } = source
      const waiting = queue.length
      source.credit += TURN
      for (let delivery = queue.first; delivery !== undefined && source.credit > 0; delivery = queue.first) {
        // What was given up while it was queued is only taken out.
        if (delivery.state === 'queued') {
          if (!fits(delivery)) break
          source.credit -= delivery.bytes
          budget -= delivery.bytes
          send(delivery)
        }
        queue.shift()
      }
      const moved = queue.length < waiting
      if (queue.length === 0) this.#active.splice(this.#turn, 1)
      else this.#turn++
      // A source that has nothing, or is held back, saves no credit for later.
      if (queue.length === 0 || !moved) source.credit = 0
      blocked = moved ? 0 : blocked + 1
    }
  }

  * [Symbol.iterator] (): IterableIterator<Delivery> {
    for (const { queue } of this.#active) yield * queue
  }
}
