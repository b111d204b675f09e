import { randomBytes } from 'node:crypto'
import { FST_MQTT_CLOSED, FST_MQTT_NEEDS_V5, FST_MQTT_PROPERTY, FST_MQTT_REPLY_ERROR, FST_MQTT_TIMEOUT, aborted, errors, unsent, type MqttError } from '../errors.ts'
import type { PublishHooks } from '../outbox/publish-hooks.ts'
import type { Publisher } from '../outbox/publisher.ts'
import { addPrefix } from '../topics/prefix.ts'
import type { Message, ProtocolVersion, PublishResult, RequestOptions } from '../types/index.ts'
import type { Publish } from '../wire/decode.ts'
import { checkPublishOptions, type CheckedPublishOptions } from '../wire/publish-options.ts'
import { ERROR_CODE, ERROR_MESSAGE } from '../wire/user-properties.ts'

const NO = Promise.resolve(false)
/** Milliseconds that an answer may take. */
const TIMEOUT = 5_000

/** What the requester needs of the ledger's entry for its response topic. */
export interface ReplySubscription {
  readonly id: number
  readonly status: 'pending' | 'active' | 'refused'
  readonly error: MqttError | undefined
  answered (): Promise<unknown>
}

export interface RequesterOptions {
  readonly prefix: string
  readonly clientId: string
  readonly publisher: Publisher
  /** Subscribes to the response topic, once. */
  readonly subscribe: (filter: string) => ReplySubscription
  /** Of the connection; undefined while there is none. */
  readonly version: () => ProtocolVersion | undefined
  readonly toMessage: (publish: Publish) => Message
  /** Answers begin or cease to be awaited. */
  readonly onAwaiting: () => void
  /** Without a broker (option `connect: false`) the application's own routes answer. */
  readonly answer?: ((send: () => Promise<PublishResult>, onReply: (reply: Publish) => void) => Promise<PublishResult>) | undefined
}

interface Exchange {
  readonly resolve: (message: Message) => void
  readonly reject: (error: Error) => void
  /** Takes the request back, where it has not left. */
  readonly publishing: AbortController
  /** Whether it may have left. */
  maybeSent: Promise<boolean>
  readonly timer: NodeJS.Timeout | undefined
  unlisten: (() => void) | undefined
}

/**
 * Requests (MQTT 5 section 4.10): one response topic for all of a client's, and correlation data that tells them apart.
 * Answers are not the handlers': they pass by the inbox and its limits, since a handler may be waiting for one.
 */
export class Requester {
  /** As the broker sees it. */
  readonly topic: string
  readonly #options: RequesterOptions
  readonly #exchanges = new Map<number, Exchange>()
  /** Tells this process' requests from those of an earlier one with the same client id. */
  readonly #mark = randomBytes(4)
  #next = 0
  #subscription: ReplySubscription | undefined
  #closed = false

  constructor (options: RequesterOptions) {
    this.#options = options
    this.topic = addPrefix(options.prefix, `reply/${asLevel(options.clientId)}`)
  }

  /** True while an answer is awaited. */
  get awaiting (): boolean {
    return this.#exchanges.size > 0
  }

  /**
   * See `MultiMqtt.request`. Never throws.
   *
   * @param hooks what the publish passes
   */
  request (topic: string, payload: unknown, options: RequestOptions | undefined, hooks?: PublishHooks, publisher: Publisher = this.#options.publisher): Promise<Message> {
    try {
      return this.#request(topic, payload, check(options), hooks, publisher)
    } catch (error) {
      return unsent(error)
    }
  }

  /** A connection is up: one of 3.1.1 cannot carry what a request is made of. */
  attach (version: ProtocolVersion): void {
    if (version < 5) this.#failAll(needsV5)
  }

  /** Takes an answer. Returns true when it was sent for nobody else. */
  take (publish: Publish): boolean {
    const subscription = this.#subscription
    if (subscription === undefined || publish.topic !== this.topic) return false
    const ids = publish.subscriptionIds
    if (ids !== undefined && !ids.includes(subscription.id)) return false
    this.#answered(publish)
    return ids?.length === 1 && publish.qos < 2
  }

  close (): void {
    this.#closed = true
    this.#failAll(closed)
  }

  #request (topic: string, payload: unknown, options: CheckedPublishOptions, hooks: PublishHooks | undefined, publisher: Publisher): Promise<Message> {
    if (this.#closed) throw closed()
    const version = this.#options.version()
    if (version !== undefined && version < 5) throw needsV5()
    const { signal } = options
    if (signal?.aborted === true) throw aborted('request', signal)
    const subscription = this.#open()
    const { error } = subscription
    if (subscription.status === 'refused' && error !== undefined) throw copyOf(error)
    const { timeout = TIMEOUT, qos, absolute, properties } = options
    const id = this.#next
    this.#next = (this.#next + 1) >>> 0
    const publishing = new AbortController()
    const promise = new Promise<Message>((resolve, reject) => {
      const timer = timeout === 0 ? undefined : setTimeout(() => this.#fail(id, late(timeout)), Math.min(timeout, 2 ** 31 - 1))
      this.#exchanges.set(id, { resolve, reject, publishing, maybeSent: NO, timer, unlisten: undefined })
    })
    // One that nobody awaits ends no process.
    promise.catch(noop)
    if (this.#exchanges.size === 1) this.#options.onAwaiting()
    if (signal !== undefined) this.#listen(id, signal)
    const publish = {
      qos,
      absolute,
      properties: {
        // Whoever is asked later has no use for it.
        ...(timeout > 0 && { messageExpiryInterval: Math.min(Math.ceil(timeout / 1000), 0xffffffff) }),
        ...properties,
        responseTopic: this.topic,
        correlationData: this.#correlate(id)
      }
    }
    const send = (): Promise<PublishResult> => publisher.publish(topic, payload, { ...publish, timeout: 0, signal: publishing.signal }, hooks)
    const published = this.#options.answer?.(send, reply => this.#answered(reply)) ?? send()
    const exchange = this.#exchanges.get(id)
    if (exchange !== undefined) exchange.maybeSent = published.then(() => true, (error: Partial<MqttError>) => error.maybeSent ?? false)
    published.catch((error: Error) => this.#end(id)?.reject(error))
    return promise
  }

  #open (): ReplySubscription {
    if (this.#subscription === undefined) {
      this.#subscription = this.#options.subscribe(this.topic)
      this.#subscription.answered().catch((error: MqttError) => this.#failAll(() => copyOf(error)))
    }
    return this.#subscription
  }

  #listen (id: number, signal: AbortSignal): void {
    const onAbort = (): void => this.#fail(id, aborted('request', signal))
    signal.addEventListener('abort', onAbort, { once: true })
    this.#exchanges.get(id)!.unlisten = () => signal.removeEventListener('abort', onAbort)
  }

  #correlate (id: number): Buffer {
    const data = Buffer.alloc(8)
    this.#mark.copy(data)
    data.writeUInt32BE(id, 4)
    return data
  }

  /** Late ones, second ones and foreign ones find nobody. */
  #answered (publish: Publish): void {
    const data = publish.properties?.correlationData
    if (data?.length !== 8 || this.#mark.compare(data, 0, 4) !== 0) return
    const exchange = this.#end(data.readUInt32BE(4))
    if (exchange === undefined) return
    const code = first(publish.properties?.userProperties?.[ERROR_CODE])
    if (code === undefined) exchange.resolve(this.#options.toMessage(publish))
    else exchange.reject(failed(code, first(publish.properties?.userProperties?.[ERROR_MESSAGE]) ?? ''))
  }

  #fail (id: number, error: Error): void {
    const exchange = this.#end(id)
    if (exchange === undefined) return
    exchange.publishing.abort()
    // Whoever asked for something to be done has to know whether it may be done all the same.
    void exchange.maybeSent.then(maybeSent => exchange.reject(Object.assign(error, { maybeSent })))
  }

  #failAll (createError: () => Error): void {
    for (const id of [...this.#exchanges.keys()]) this.#fail(id, createError())
  }

  #end (id: number): Exchange | undefined {
    const exchange = this.#exchanges.get(id)
    if (exchange === undefined) return undefined
    this.#exchanges.delete(id)
    clearTimeout(exchange.timer)
    exchange.unlisten?.()
    if (this.#exchanges.size === 0) this.#options.onAwaiting()
    return exchange
  }
}

/** Each caller gets an error of its own: `maybeSent` is not the same for all. */
function copyOf ({ code, message, reasonCode }: MqttError): MqttError {
  const copy = errors[code](message) as MqttError
  if (reasonCode !== undefined) copy.reasonCode = reasonCode
  return copy
}

/** @throws `FST_MQTT_PROPERTY` naming the option */
function check (options: RequestOptions = {}): CheckedPublishOptions {
  const checked = checkPublishOptions(options)
  if (checked.retain !== undefined) throw FST_MQTT_PROPERTY('retain: a request is for those who are there now')
  for (const name of ['responseTopic', 'correlationData'] as const) {
    if (checked.properties?.[name] !== undefined) throw FST_MQTT_PROPERTY(`${name}: request() sets it itself`)
  }
  return checked
}

/** A client id may hold what a level may not. */
function asLevel (clientId: string): string {
  return clientId === '' ? randomBytes(8).toString('hex') : clientId.replace(/[/+#]/g, '-')
}

/** A user property may occur more than once. */
function first (value: string | string[] | undefined): string | undefined {
  return typeof value === 'object' ? value[0] : value
}

function failed (code: string, message: string): MqttError {
  const error = FST_MQTT_REPLY_ERROR(`The handler of this request failed: ${code}${message === '' ? '' : `: ${message}`}`) as MqttError
  error.remote = { code, message }
  return error
}

function late (timeout: number): Error {
  return FST_MQTT_TIMEOUT(`No answer came within ${timeout} ms (option timeout)`)
}

function needsV5 (): Error {
  return FST_MQTT_NEEDS_V5('request() needs MQTT 5, and the connection speaks 3.1.1')
}

function closed (): Error {
  return FST_MQTT_CLOSED('The application has closed before this request was answered')
}

function noop (): void {}
