import { Fifo } from '../fifo.ts'
import { Slab } from '../wire/encode.ts'
import type { Account, Delivery } from './delivery.ts'

/** So few dead ones are not worth a sweep. */
const FEW = 64

/**
 * Whoever publishes: the main thread, or one worker. Each has a queue of its own, so that order is kept within it and
 * none can push in front of another, and a limit of its own.
 */
export class Source implements Account {
  readonly name: string
  /** Of a worker. */
  readonly threadId: number | undefined
  readonly maxBytes: number
  /** Up to here QoS 0 counted as done when it was handed over, so it is taken in whatever the outbox holds, in bytes. */
  readonly window: number
  readonly queue = new Fifo<Delivery>()
  /** Of everything accepted and not yet settled, queued or in flight. */
  bytes = 0
  messages = 0
  /** What it may still send in this round; below zero after something large. */
  credit = 0
  /** How many in the queue are settled: given up before their turn came. */
  #dead = 0

  constructor (name: string, { maxBytes = Infinity, window = 0, threadId }: { maxBytes?: number, window?: number, threadId?: number } = {}) {
    this.name = name
    this.threadId = threadId
    this.maxBytes = maxBytes
    this.window = window
  }

  /** True when so much more is covered by the window. Twice over: another version or prefix may have made frames longer. */
  covers (bytes: number): boolean {
    return this.bytes + bytes <= this.window * 2
  }

  /** One in the queue was given up. Offline its turn may never come, so the dead are thrown out when they are half. */
  gaveUp (): void {
    this.#dead++
    if (this.#dead < FEW || this.#dead * 2 < this.queue.length) return
    this.queue.replace(delivery => delivery.state === 'settled' ? undefined : delivery)
    this.#dead = 0
    // What is left would keep the chunks of all that is gone.
    const slab = new Slab()
    for (const delivery of this.queue) if (delivery.state === 'queued') delivery.move(slab)
  }

  /** Takes out the first. */
  shift (): void {
    if (this.queue.shift()?.state === 'settled' && this.#dead > 0) this.#dead--
  }
}
