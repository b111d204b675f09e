import type { ServerResponse } from 'node:http'

const MAX_QUEUED = 500
const MAX_BUFFERED = 256 * 1024

/**
 * Server-sent events to one browser. What it does not read in time is dropped, oldest first, and counted:
 * a browser that sleeps costs MAX_QUEUED entries and MAX_BUFFERED bytes, however long it sleeps.
 */
export class EventStream {
  readonly #response: ServerResponse
  readonly #latest = new Map<string, unknown>()
  readonly #values = new Map<string, unknown>()
  #queue: unknown[] = []
  #skipped = 0

  constructor (response: ServerResponse) {
    this.#response = response
    response.writeHead(200, {
      'content-type': 'text/event-stream; charset=utf-8',
      'cache-control': 'no-store',
      'x-accel-buffering': 'no'
    })
    response.write('retry: 1000\n\n')
  }

  /** Queues one thing that happened. */
  push (entry: unknown): void {
    this.#queue.push(entry)
    if (this.#queue.length > MAX_QUEUED) {
      this.#queue.shift()
      this.#skipped++
    }
  }

  /** Queues a value, in place of the one with this key that is still waiting: no flood of messages pushes it out. */
  pushValue (key: string, entry: unknown): void {
    this.#values.set(key, entry)
  }

  /** Queues an event of which only the newest matters. */
  replace (event: string, data: unknown): void {
    this.#latest.set(event, data)
  }

  /** Sends what is queued, unless the browser still has enough to read. */
  flush (): void {
    if (this.#response.writableLength > MAX_BUFFERED) return
    for (const [event, data] of this.#latest) this.#write(event, data)
    this.#latest.clear()
    if (this.#queue.length === 0 && this.#values.size === 0) return
    this.#write('feed', { entries: [...this.#values.values(), ...this.#queue], skipped: this.#skipped })
    this.#values.clear()
    this.#queue = []
    this.#skipped = 0
  }

  end (): void {
    this.#response.end()
  }

  #write (event: string, data: unknown): void {
    this.#response.write(`event: ${event}\ndata: ${JSON.stringify(data)}\n\n`)
  }
}
