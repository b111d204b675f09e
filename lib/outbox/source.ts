import { Fifo } from '../fifo.ts'
import type { Account, Delivery } from './delivery.ts'

/**
 * Whoever publishes: the main thread, or one worker. Each has a queue of its own, so that order is kept within it and
 * none can push in front of another, and a limit of its own.
 */
export class Source implements Account {
  readonly name: string
  readonly maxBytes: number
  readonly queue = new Fifo<Delivery>()
  /** Of everything accepted and not yet settled, queued or in flight. */
  bytes = 0
  messages = 0
  /** What it may still send in this round. */
  credit = 0

  constructor (name: string, maxBytes: number) {
    this.name = name
    this.maxBytes = maxBytes
  }
}
