import { AsyncLocalStorage } from 'node:async_hooks'
import type { PublishedMessage } from '../types.ts'

/** A publish as it was called for. */
export interface PublishRecord extends Omit<PublishedMessage, 'absoluteTopic'> {
  readonly absolute: boolean
}

/** Notes what is published in the course of an injected message. */
export class Recorder {
  readonly #records = new AsyncLocalStorage<PublishRecord[]>()
  /** How many injected messages are under way: with none, a publish does not look for its own. */
  #running = 0

  get active (): boolean {
    return this.#running > 0
  }

  /** Runs an asynchronous function; what is published in its course is put into the list. */
  async run<T> (records: PublishRecord[], task: () => Promise<T>): Promise<T> {
    this.#running++
    try {
      return await this.#records.run(records, task)
    } finally {
      this.#running--
    }
  }

  /** A publish was found to be good. */
  note (topic: string, absolute: boolean, payload: string | Uint8Array, rest: Pick<PublishRecord, 'qos' | 'retain' | 'properties'>): void {
    // A copy: the caller may do with the bytes what it likes.
    this.#records.getStore()?.push({ topic, absolute, payload: Buffer.from(payload as string), ...rest })
  }
}
