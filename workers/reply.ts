import type { ReplyShape } from '../lib/bridge/protocol.ts'
import type { Message, QoS, ReceivedProperties } from '../lib/types/index.ts'
import { Body } from '../lib/wire/body.ts'
import { parseJson } from './json.ts'

/** An answer to a request, as a worker gets it. */
export type WorkerReply = Omit<Message, 'route' | 'log'>

const NO_PARAMS = Object.freeze(Object.create(null) as object) as WorkerReply['params']
const NO_WILDCARDS: readonly string[] = Object.freeze([])
/** The main thread has limited it already: by `maxPayload`. */
const READER = { parse: parseJson, limit: Infinity }

export class Reply implements WorkerReply {
  readonly topic: string
  readonly absoluteTopic: string
  readonly params = NO_PARAMS
  readonly wildcards = NO_WILDCARDS
  readonly payload: Buffer
  readonly qos: QoS
  readonly retain: boolean
  readonly dup: boolean
  readonly properties: ReceivedProperties
  readonly receivedAt = Date.now()
  #body: Body | undefined
  #abort: AbortController | undefined

  constructor ({ topic, absoluteTopic, payload, qos, retain, dup, properties }: ReplyShape) {
    this.topic = topic
    this.absoluteTopic = absoluteTopic
    this.payload = asBuffer(payload)
    this.qos = qos
    this.retain = retain
    this.dup = dup
    const { correlationData, userProperties, ...rest } = properties
    this.properties = {
      ...rest,
      ...(correlationData !== undefined && { correlationData: asBuffer(correlationData) }),
      // A clone has a prototype again.
      ...(userProperties !== undefined && { userProperties: Object.assign(Object.create(null) as typeof userProperties, userProperties) })
    }
  }

  get body (): unknown {
    return this.#parsed.as('auto')
  }

  json<T = unknown> (): T {
    return this.#parsed.json() as T
  }

  text (): string {
    return this.payload.toString()
  }

  get #parsed (): Body {
    this.#body ??= new Body(this.payload, READER)
    return this.#body
  }

  /** Nothing aborts it: no handler runs. */
  get signal (): AbortSignal {
    this.#abort ??= new AbortController()
    return this.#abort.signal
  }
}

function asBuffer (bytes: Uint8Array): Buffer {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
}
