import type { ServerResponse } from 'node:http'
import type { Metric } from './topics.ts'
import { EventStream } from './stream.ts'

/** A reading, on its way to the charts. */
export interface ValueEntry {
  type: 'value'
  id: number
  metric: Metric
  value: number
  at: number
}

/** A message, on its way to the list. */
export interface MessageEntry {
  type: 'message'
  /** Which route had it; `other` when none had. */
  kind: 'telemetry' | 'status' | 'command' | 'other'
  topic: string
  payload: string
  /** Bytes of the whole payload. */
  size: number
  /** `payload` is only its beginning. */
  cut: boolean
  qos: number
  retain: boolean
  at: number
  /** A filter of the subscribe box asked for it. */
  subscribed: boolean
  /** Why its handler failed. */
  error?: string
}

const FLUSH_EVERY = 200
const STATUS_EVERY = 1_000
const REMEMBERED = 60

/** What happens, told to every browser that looks: values and messages in small batches, the status each second. */
export class Feed {
  readonly #streams = new Set<EventStream>()
  readonly #greeting: () => object
  readonly #status: () => object
  #recent: MessageEntry[] = []
  #timers: NodeJS.Timeout[] = []

  constructor (greeting: () => object, status: () => object) {
    this.#greeting = greeting
    this.#status = status
  }

  add (response: ServerResponse): void {
    const stream = new EventStream(response)
    stream.replace('hello', { ...this.#greeting(), messages: this.#recent, now: Date.now() })
    stream.replace('status', this.#snapshot())
    stream.flush()
    this.#streams.add(stream)
    response.on('close', () => { this.#remove(stream) })
    if (this.#streams.size === 1) this.#startTimers()
  }

  pushValue (entry: ValueEntry): void {
    for (const stream of this.#streams) stream.pushValue(`${entry.id} ${entry.metric}`, entry)
  }

  pushMessage (entry: MessageEntry): void {
    // Telemetry comes in by the dozen; remembered, it would leave no room for anything else.
    if (entry.kind !== 'telemetry') {
      this.#recent.push(entry)
      if (this.#recent.length > REMEMBERED) this.#recent.shift()
    }
    for (const stream of this.#streams) stream.push(entry)
  }

  /** Tells the status now, ahead of the second. */
  pushStatus (): void {
    const status = this.#snapshot()
    for (const stream of this.#streams) stream.replace('status', status)
  }

  close (): void {
    for (const stream of this.#streams) {
      stream.flush()
      stream.end()
      this.#remove(stream)
    }
  }

  #snapshot (): object {
    return { ...this.#status(), watchers: this.#streams.size, now: Date.now() }
  }

  #remove (stream: EventStream): void {
    this.#streams.delete(stream)
    if (this.#streams.size === 0) {
      this.#timers.forEach(clearInterval)
      this.#timers = []
    }
  }

  #startTimers (): void {
    this.#timers = [
      setInterval(() => { this.pushStatus() }, STATUS_EVERY),
      setInterval(() => { for (const stream of this.#streams) stream.flush() }, FLUSH_EVERY)
    ]
  }
}
