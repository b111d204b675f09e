import type { ReplyMessage, RequestMessage, UnansweredMessage, CancelMessage } from '../lib/bridge/protocol.ts'
import { FST_MQTT_PROPERTY, aborted } from '../lib/errors.ts'
import type { RequestOptions } from '../lib/types/index.ts'
import { copyProperties } from '../lib/wire/copy.ts'
import { toPayload } from '../lib/wire/payload.ts'
import { encodeProperties } from '../lib/wire/properties.ts'
import { checkPublishOptions } from '../lib/wire/publish-options.ts'
import { deferred, rejectQuietly, reviveError, type Deferred } from './pending.ts'
import { Reply, type WorkerReply } from './reply.ts'

/** What a request takes in memory, here and on the main thread, besides its payload and properties. */
const EXCHANGE_BYTES = 1024

interface Exchange extends Deferred<WorkerReply> {
  readonly bytes: number
  unlisten: (() => void) | undefined
}

/** What is to be asked, taken as it was when `request` was called. */
export interface PreparedRequest {
  readonly asked: Omit<RequestMessage, 'type' | 'id'>
  readonly signal: AbortSignal | undefined
  /** What it takes in memory until it is answered. */
  readonly bytes: number
}

/** The requests of a worker that wait for their answer. */
export class Requests {
  readonly #exchanges = new Map<number, Exchange>()
  #next = 0
  /** What those that wait take in memory. */
  bytes = 0

  get size (): number {
    return this.#exchanges.size
  }

  /** Says to `post` what to ask, and resolves with the answer. */
  send ({ asked, signal, bytes }: PreparedRequest, post: (message: RequestMessage | CancelMessage) => void): Promise<WorkerReply> {
    if (signal?.aborted === true) throw aborted('request', signal)
    const id = this.#next++
    try {
      post({ type: 'request', id, ...asked })
    } catch {
      throw FST_MQTT_PROPERTY('properties: they hold what cannot be copied to another thread')
    }
    this.bytes += bytes
    const exchange: Exchange = { ...deferred<WorkerReply>(), bytes, unlisten: undefined }
    this.#exchanges.set(id, exchange)
    if (signal !== undefined) {
      const onAbort = (): void => {
        post({ type: 'cancel', id })
        this.#fail(id, aborted('request', signal))
      }
      signal.addEventListener('abort', onAbort, { once: true })
      exchange.unlisten = () => signal.removeEventListener('abort', onAbort)
    }
    return exchange.promise
  }

  answered ({ id, message }: ReplyMessage): void {
    this.#end(id)?.resolve(new Reply(message))
  }

  unanswered ({ id, error }: UnansweredMessage): void {
    this.#fail(id, reviveError(error))
  }

  /** No answer comes any more. */
  failAll (createError: () => Error): void {
    for (const id of [...this.#exchanges.keys()]) this.#fail(id, createError())
  }

  #fail (id: number, error: Error): void {
    const exchange = this.#end(id)
    if (exchange !== undefined) rejectQuietly(exchange, error)
  }

  #end (id: number): Exchange | undefined {
    const exchange = this.#exchanges.get(id)
    if (exchange === undefined) return undefined
    this.#exchanges.delete(id)
    this.bytes -= exchange.bytes
    exchange.unlisten?.()
    return exchange
  }
}

/** Checks and copies what the caller gave, since it may change, or be said once more. */
export function prepareRequest (topic: string, payload: unknown, given: RequestOptions = {}): PreparedRequest {
  const { signal, properties, ...options } = checkPublishOptions(given)
  const size = properties === undefined ? 0 : encodeProperties(properties)?.length ?? 0
  const sent = toPayload(payload)
  // Exactly its bytes: the memory around them holds other things of the caller's, and a view can say anything about its length.
  const bytes = typeof sent === 'string' ? sent : new Uint8Array(sent)
  return {
    asked: {
      topic,
      payload: bytes,
      options: { ...options, ...(properties !== undefined && { properties: copyProperties(properties) }) } as RequestMessage['options']
    },
    signal,
    bytes: EXCHANGE_BYTES + size + bytes.length
  }
}
