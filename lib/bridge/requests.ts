import { FST_MQTT_ABORTED, FST_MQTT_CLOSED, FST_MQTT_WORKER_TOPIC } from '../errors.ts'
import { MalformedPacket } from '../wire/malformed.ts'
import { addPrefix } from '../topics/prefix.ts'
import type { Message, RequestOptions } from '../types/index.ts'
import { errorShape } from './answers.ts'
import { NOT_PERMITTED, type ReplyMessage, type RequestMessage, type UnansweredMessage } from './protocol.ts'

export interface WorkerRequestsOptions {
  readonly prefix: string
  /** Whether workers may publish to a topic, prefix included. */
  readonly permits?: (absoluteTopic: string) => boolean
  /** Sends the request, in the order of what the worker publishes. */
  readonly request: (topic: string, payload: unknown, options: RequestOptions) => Promise<Message>
  readonly post: (message: ReplyMessage | UnansweredMessage, transfer: ArrayBuffer[]) => void
  /** The last one has been answered. */
  readonly onIdle: () => void
}

/** The requests of one worker: they are the connection's own, and the worker gets what comes of them. */
export class WorkerRequests {
  readonly #options: WorkerRequestsOptions
  readonly #running = new Map<number, AbortController>()
  /** The number that the worker's next request has at least. */
  #next = 0

  constructor (options: WorkerRequestsOptions) {
    this.#options = options
  }

  get size (): number {
    return this.#running.size
  }

  /** @throws MalformedPacket */
  take ({ id, topic, payload, options }: RequestMessage): void {
    if (typeof id !== 'number' || typeof topic !== 'string' || typeof options !== 'object' || options === null) {
      throw new MalformedPacket('A request that cannot be read')
    }
    // Said before: a worker says everything once more in the next port, as long as it has no answer.
    if (id < this.#next) return
    this.#next = id + 1
    const { prefix, permits, request } = this.#options
    if (permits?.(options.absolute === true ? topic : addPrefix(prefix, topic)) === false) {
      this.#fail(id, FST_MQTT_WORKER_TOPIC(NOT_PERMITTED))
      return
    }
    const cancel = new AbortController()
    this.#running.set(id, cancel)
    request(topic, payload, { ...options, signal: cancel.signal })
      .then(message => this.#answer(id, message), (error: Error) => this.#fail(id, error))
      .finally(() => {
        this.#running.delete(id)
        if (this.#running.size === 0) this.#options.onIdle()
      })
  }

  /** The application closes: it is not sent. */
  refuse ({ id }: RequestMessage): void {
    this.#fail(id, FST_MQTT_CLOSED('The application has closed'))
  }

  /** Nobody waits for this one any more. */
  cancel (id: number): void {
    this.#running.get(id)?.abort(FST_MQTT_ABORTED('The request was aborted by its signal'))
  }

  /** The worker is gone. */
  end (): void {
    for (const cancel of this.#running.values()) cancel.abort()
  }

  #answer (id: number, { topic, absoluteTopic, payload, qos, retain, dup, properties }: Message): void {
    // Exactly its bytes: the memory around them holds other messages.
    const bytes = new Uint8Array(payload)
    this.#options.post({ type: 'reply', id, message: { topic, absoluteTopic, payload: bytes, qos, retain, dup, properties: exact(properties) } }, [bytes.buffer])
  }

  #fail (id: number, error: Error): void {
    this.#options.post({ type: 'unanswered', id, error: errorShape(error) }, [])
  }
}

/** As with the payload. */
function exact (properties: Message['properties']): ReplyMessage['message']['properties'] {
  const { correlationData, ...rest } = properties
  return correlationData === undefined ? rest : { ...rest, correlationData: new Uint8Array(correlationData) }
}
