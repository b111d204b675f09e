import { AsyncLocalStorage } from 'node:async_hooks'
import type { PublishedMessage } from '../types/index.ts'
import { copyOf } from '../wire/copy.ts'

/** A publish as it was called for. */
export interface PublishRecord extends Omit<PublishedMessage, 'absoluteTopic'> {
  readonly absolute: boolean
}

/** The place of a publish among the others, as long as it is not known what is sent. */
export interface Reservation {
  note (...record: Parameters<Recorder['note']>): void
  /** It is not sent. */
  drop (): void
}

/** What is published in the course of one injected message, in order. */
class Course {
  readonly #places: Array<{ record: PublishRecord | undefined }> = []
  #open = 0
  #settled: () => void = noop

  reserve (): Reservation {
    const place: { record: PublishRecord | undefined } = { record: undefined }
    this.#places.push(place)
    this.#open++
    let done = false
    const end = (record?: PublishRecord): void => {
      if (done) return
      done = true
      place.record = record
      this.#open--
      if (this.#open === 0) this.#settled()
    }
    return { note: (...args) => end(createRecord(...args)), drop: () => end() }
  }

  note (record: PublishRecord): void {
    this.#places.push({ record })
  }

  /** What has begun is waited for: an answer is not the handler's to wait for. */
  async take (): Promise<PublishRecord[]> {
    while (this.#open > 0) {
      await new Promise<void>(resolve => { this.#settled = resolve })
      // One that could not be sent may be followed by another that says so.
      await new Promise(resolve => { setImmediate(resolve) })
    }
    return this.#places.flatMap(({ record }) => record ?? [])
  }
}

/** Notes what is published in the course of an injected message. */
export class Recorder {
  readonly #courses = new AsyncLocalStorage<Course | undefined>()
  /** How many injected messages are under way: with none, a publish does not look for its own. */
  #running = 0

  get active (): boolean {
    return this.#running > 0
  }

  /** Runs an asynchronous function; what is published in its course is put into the list. */
  async run<T> (records: PublishRecord[], task: () => Promise<T>): Promise<T> {
    this.#running++
    const course = new Course()
    const outer = this.#courses.getStore()
    try {
      const result = await this.#courses.run(course, task)
      for (const record of await course.take()) {
        records.push(record)
        outer?.note(record)
      }
      return result
    } finally {
      this.#running--
    }
  }

  /** Runs what is no part of the message in whose course it comes: streams and queues pass on the context of whoever fed them. */
  exclude (task: () => void): void {
    this.#courses.run(undefined, task)
  }

  /** A publish was found to be good. */
  note (topic: string, absolute: boolean, payload: string | Uint8Array, rest: Pick<PublishRecord, 'qos' | 'retain' | 'properties'>): void {
    this.#courses.getStore()?.note(createRecord(topic, absolute, payload, rest))
  }

  /** A publish that is still in its hooks. */
  reserve (): Reservation | undefined {
    return this.#courses.getStore()?.reserve()
  }
}

function createRecord (topic: string, absolute: boolean, payload: string | Uint8Array, rest: Pick<PublishRecord, 'qos' | 'retain' | 'properties'>): PublishRecord {
  // A copy: the caller may do with the bytes what it likes.
  return { topic, absolute, payload: copyOf(payload), ...rest }
}

function noop (): void {}
