import type { ErrorShape } from '../lib/bridge/protocol.ts'
import { errors, type MqttError } from '../lib/errors.ts'
import type { PublishResult } from '../lib/types/index.ts'

/** Of all publishes that are confirmed with reason code 0, and that is nearly all. */
export const CONFIRMED: PublishResult = Object.freeze({ reasonCode: 0 })

/** A promise and what settles it. */
export interface Deferred<T> {
  readonly promise: Promise<T>
  readonly resolve: (value: T) => void
  readonly reject: (error: Error) => void
}

/** Made for each publish, so it is one object and one closure. */
class Entry implements Deferred<PublishResult> {
  resolve!: (value: PublishResult) => void
  reject!: (error: Error) => void
  onEnd: (() => void) | undefined = undefined
  readonly promise = new Promise<PublishResult>((resolve, reject) => {
    this.resolve = resolve
    this.reject = reject
  })
}

/** The publishes of a worker that somebody may be waiting for, in order. */
export class Pending {
  readonly #entries = new Map<number, Entry>()

  get size (): number {
    return this.#entries.size
  }

  add (seq: number): Promise<PublishResult> {
    const entry = new Entry()
    this.#entries.set(seq, entry)
    return entry.promise
  }

  /** Calls back when the signal is aborted before the publish has settled. */
  listen (seq: number, signal: AbortSignal, onAbort: () => void): void {
    signal.addEventListener('abort', onAbort, { once: true })
    this.onEnd(seq, () => signal.removeEventListener('abort', onAbort))
  }

  /** What is to be done when the publish has settled. */
  onEnd (seq: number, end: () => void): void {
    const entry = this.#entries.get(seq)!
    const { onEnd } = entry
    entry.onEnd = onEnd === undefined ? end : () => { onEnd(); end() }
  }

  confirm (first: number, count: number, reasonCode: number): void {
    const result = reasonCode === 0 ? CONFIRMED : { reasonCode }
    this.#each(first, count, entry => entry.resolve(result))
  }

  /** Each gets an error of its own. */
  fail (first: number, count: number, createError: () => Error): void {
    this.#each(first, count, entry => rejectQuietly(entry, createError()))
  }

  #each (first: number, count: number, end: (entry: Entry) => void): void {
    // Most QoS 0 has no entry, so a range may be much longer than what is here.
    if (count <= this.#entries.size) {
      for (let seq = first; seq < first + count; seq++) this.#end(seq, end)
    } else {
      for (const seq of [...this.#entries.keys()]) if (seq >= first && seq < first + count) this.#end(seq, end)
    }
  }

  #end (seq: number, end: (entry: Entry) => void): void {
    const entry = this.#entries.get(seq)
    if (entry === undefined) return
    this.#entries.delete(seq)
    entry.onEnd?.()
    end(entry)
  }
}

/** A promise to be settled later. */
export function deferred<T> (): Deferred<T> {
  let resolve!: (value: T) => void
  let reject!: (error: Error) => void
  const promise = new Promise<T>((_resolve, _reject) => { resolve = _resolve; reject = _reject })
  return { promise, resolve, reject }
}

/** Rejects so that no process ends when nobody awaits it; whoever does still sees the error. */
export function rejectQuietly ({ promise, reject }: Pick<Deferred<unknown>, 'promise' | 'reject'>, error: Error): void {
  promise.catch(noop)
  reject(error)
}

/** Makes an error of this thread out of one that came from another. */
export function reviveError ({ code, message, reasonCode, maybeSent, remote }: ErrorShape, cause?: unknown): MqttError {
  // What an onPublish hook of the application has thrown is no error of ours, and may have no code.
  const error = (Object.hasOwn(errors, code) ? errors[code](message) : new Error(message)) as MqttError
  if (code !== undefined) error.code = code
  error.maybeSent = maybeSent
  if (reasonCode !== undefined) error.reasonCode = reasonCode
  if (remote !== undefined) error.remote = remote
  if (cause !== undefined) error.cause = cause
  return error
}

function noop (): void {}
