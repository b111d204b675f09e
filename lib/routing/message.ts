import type { FastifyBaseLogger } from 'fastify'
import { FST_MQTT_INVALID_BODY } from '../errors.ts'
import type { Message, QoS, ReceivedProperties } from '../types/index.ts'
import { stripPrefix } from '../topics/prefix.ts'
import { Body } from '../wire/body.ts'
import type { Publish } from '../wire/decode.ts'
import type { MqttRoute } from './route.ts'
import type { BodyCheck } from './schema.ts'
import type { Scope } from './scope.ts'
import { isThenable } from './thenable.ts'

/** Not worth a copy. */
const SMALL = 8 * 1024
const NO_PROPERTIES: ReceivedProperties = Object.freeze({})
/** Of a message without a route. */
export const NO_PARAMS: Message['params'] = Object.freeze(Object.create(null) as object) as Message['params']
export const NO_WILDCARDS: readonly string[] = Object.freeze([])
const kUnparsed = Symbol('unparsed')

/** A message on its way through one route's handlers. What most handlers do not ask for is made when asked for. */
export class InboundMessage implements Message {
  readonly topic: string
  readonly absoluteTopic: string
  readonly params: Message['params']
  readonly wildcards: readonly string[]
  payload: Buffer
  readonly qos: QoS
  readonly retain: boolean
  readonly dup: boolean
  readonly properties: ReceivedProperties
  readonly route: MqttRoute | undefined
  readonly receivedAt = Date.now()
  readonly #scope: Scope
  /** The answer to a request: that it is not valid is not the fault of whoever asked this application for something. */
  #answer = false
  #parsed: Body | undefined
  /** What a schema's check has made of it. */
  #body: unknown = kUnparsed
  #invalid: unknown
  #log: FastifyBaseLogger | undefined
  #abort: AbortController | undefined

  constructor (publish: Publish, topic: string, scope: Scope, route: MqttRoute | undefined, params: object, wildcards: readonly string[]) {
    this.topic = topic
    this.absoluteTopic = publish.topic
    this.params = params as Message['params']
    this.wildcards = wildcards
    this.payload = publish.payload
    this.qos = publish.qos
    this.retain = publish.retain
    this.dup = publish.dup
    this.properties = publish.properties ?? NO_PROPERTIES
    this.route = route
    this.#scope = scope
  }

  /** An answer to a request of ours: no route and no handler. */
  static ofReply (publish: Publish, prefix: string, scope: Scope): InboundMessage {
    const message = new InboundMessage(publish, stripPrefix(prefix, publish.topic) ?? publish.topic, scope, undefined, NO_PARAMS, NO_WILDCARDS)
    message.keep(publish)
    message.#answer = true
    return message
  }

  get body (): unknown {
    return this.#body === kUnparsed ? this.#read(body => body.as(this.route?.definition.parse ?? 'auto')) : this.#body
  }

  json<T = unknown> (): T {
    return this.#read(body => body.json()) as T
  }

  text (): string {
    return this.payload.toString()
  }

  /** Takes the body through a route's schema, which may change it. */
  validate (check: BodyCheck): void | Promise<void> {
    try {
      const checked = check(this.body)
      if (!isThenable(checked)) {
        this.#body = checked
        return undefined
      }
      return Promise.resolve(checked).then(body => { this.#body = body }, error => this.#fail(error))
    } catch (error) {
      return this.#fail(error)
    }
  }

  /** True for the error that said that this message's body is not valid: another time it would be no better. */
  isInvalid (error: unknown): boolean {
    return error !== undefined && error === this.#invalid
  }

  get log (): FastifyBaseLogger {
    this.#log ??= this.#scope.instance.log.child({ route: this.route?.name ?? this.route?.pattern, topic: this.topic })
    return this.#log
  }

  get signal (): AbortSignal {
    if (this.#abort === undefined) {
      this.#abort = new AbortController()
      this.#scope.abortOnClose(this.#abort)
    }
    return this.#abort.signal
  }

  /**
   * It will wait for its turn: a few bytes must not keep a whole read of the socket in memory, or the inbox's limit in
   * bytes would mean little. One copy serves all routes of the message.
   */
  keep (publish: Publish): void {
    const { payload } = publish
    if (payload.buffer.byteLength > 2 * payload.length + SMALL) publish.payload = copyAlone(payload)
    this.payload = publish.payload
  }

  /** True when the application is closing and the handler was told so by `signal`. */
  get closing (): boolean {
    return this.#abort?.signal.aborted === true && this.#abort.signal.reason === this.#scope.closing
  }

  /** Aborts `signal`, where somebody has asked for it. */
  abort (reason: Error): void {
    // Made here if need be: a handler may look at it only after its time is up.
    void this.signal
    this.#abort!.abort(reason)
  }

  /** The handlers are done: nothing needs to be aborted any more. */
  finish (): void {
    if (this.#abort !== undefined) this.#scope.release(this.#abort)
  }

  /** The handlers are called once more: with a signal that is not aborted. */
  renew (): void {
    this.finish()
    this.#abort = undefined
  }

  #read (as: (body: Body) => unknown): unknown {
    this.#parsed ??= new Body(this.payload, this.#scope.json)
    try {
      return as(this.#parsed)
    } catch (error) {
      return this.#fail(error)
    }
  }

  #fail (error: unknown): never {
    if (error instanceof FST_MQTT_INVALID_BODY) {
      this.#invalid = error
      if (this.#answer) (error as { statusCode: number }).statusCode = 502
    }
    throw error
  }
}

/** Not out of Buffer's pool: there it would keep 8 KiB in memory. */
function copyAlone (bytes: Buffer): Buffer {
  const copy = Buffer.allocUnsafeSlow(bytes.length)
  bytes.copy(copy)
  return copy
}
