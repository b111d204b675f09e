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
    // One whose queue was given up as a whole is still here.
    if (source.queue.length === 0 && !this.#active.includes(source)) this.#active.push(source)
    source.queue.push(delivery)
  }

  /**
   * Takes out up to `budget` bytes, of each source in order; a delivery that does not fit holds back its source.
   *
   * @param send returns whether it leaves: what does not costs nobody anything
   */
  serve (budget: number, fits: (delivery: Delivery) => boolean, send: (delivery: Delivery) => boolean): void {
    let blocked = 0
    /** The first whose turn passed without anything sent: it is the next one's turn when there is room again. */
    let starved: Source | undefined
    while (this.#active.length > 0 && blocked < this.#active.length && budget > 0) {
      if (this.#turn >= this.#active.length) this.#turn = 0
      const source = this.#active[this.#turn]!
      source.credit += TURN
      let held = false
      let moved = false
      let hooked = false
      for (let delivery = source.queue.first; delivery !== undefined && source.credit > 0; delivery = source.queue.first) {
        // Behind one that is in its hooks all wait, for as long as that may take: room here is none of their business.
        hooked = delivery.state === 'held'
        if (hooked) break
        // What was given up while it was queued is only taken out.
        if (delivery.state === 'queued') {
          held = !fits(delivery)
          if (held) break
          const { bytes } = delivery
          if (send(delivery)) {
            source.credit -= bytes
            budget -= bytes
          }
          moved = true
          blocked = 0
        }
        source.shift()
      }
      // Credit is not saved up for later; debt is kept, or large messages would get more than their share.
      if (held || hooked || source.queue.length === 0) source.credit = Math.min(source.credit, 0)
      if (source.queue.length === 0) this.#active.splice(this.#turn, 1)
      else this.#turn++
      if (held || hooked) blocked++
      // One in debt is not held back: each round pays off some of it.
      else if (!moved) blocked = 0
      if (held && !moved) starved ??= source
    }
    if (starved !== undefined) this.#turn = Math.max(this.#active.indexOf(starved), 0)
  }

  * [Symbol.iterator] (): IterableIterator<Delivery> {
    for (const { queue } of this.#active) yield * queue
  }
}
