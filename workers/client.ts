import type { MessagePort } from 'node:worker_threads'
import { messageType, type ClosedMessage, type ConnectionHint, type HelloMessage, type Layout, type ReplyMessage, type RoutesMessage, type SettledMessage, type UnansweredMessage, type VersionMessage, type WorkerMessage } from '../lib/bridge/protocol.ts'
import { FST_MQTT_CLOSED, FST_MQTT_OUTBOX_FULL, aborted, rejected, unsent, type MqttError } from '../lib/errors.ts'
import type { PublishOptions, PublishResult, RequestOptions } from '../lib/types/index.ts'
import { payloadLength, publishLength } from '../lib/wire/encode.ts'
import { toPayload } from '../lib/wire/payload.ts'
import { encodeProperties } from '../lib/wire/properties.ts'
import { checkPublishOptions, type CheckedPublishOptions } from '../lib/wire/publish-options.ts'
import { TopicCache } from '../lib/wire/topic-cache.ts'
import { Batch } from './batch.ts'
import { Link } from './link.ts'
import { CONFIRMED, deferred, Pending, rejectQuietly, reviveError, type Deferred } from './pending.ts'
import type { WorkerReply } from './reply.ts'
import { prepareRequest, Requests, type PreparedRequest } from './requests.ts'
import { Routes } from './routes.ts'

const NONE: CheckedPublishOptions = Object.freeze(checkPublishOptions({}))
/** Until the main thread has said what it takes: the default of `outbox.maxBytes`. */
const MAX_BYTES = 64 * 1024 * 1024

/** One worker's side of a connection that lives in another thread. */
export class WorkerClient {
  readonly #link: Link
  readonly #batch = new Batch()
  readonly #pending = new Pending()
  readonly #requests = new Requests()
  /** What the application's routes are called, once the main thread has told it. */
  readonly routes = new Routes()
  #layout: Layout
  #topics: TopicCache
  #maxBytes: number
  #window = 0
  /** Bytes handed over, or about to be, that the main thread has not given back. */
  #unconfirmed = 0
  #connected = false
  #over: MqttError | undefined
  #waiting: Array<Deferred<void>> = []
  /** QoS 0 of this turn that is done when it is handed over. */
  #turn: Deferred<PublishResult> | undefined
  #turnScheduled = false
  /** There is no room for more in this turn: one error and one promise, however many are published in it. */
  #refused: Promise<never> | undefined
  #exiting = false
  /** Called once, when the main thread has answered. */
  onConnected: () => void = () => {}
  /** Called with all that is handed over as long as the main thread has not answered. */
  onUnanswered: (message: WorkerMessage) => void = () => {}

  readonly #endTurn = (): void => {
    this.#turnScheduled = false
    this.#refused = undefined
    this.#flush()
  }

  readonly #onExit = (): void => {
    // No microtask runs any more, so what is published from here on goes over at once.
    this.#exiting = true
    this.#flush()
    this.#link.handOver()
  }

  /** @param hint what is known of the connection before it answers */
  constructor (port: MessagePort, hint?: Omit<ConnectionHint, 'threadId'>) {
    this.#layout = { prefix: hint?.prefix ?? '', version: hint?.version ?? 5 }
    this.#topics = new TopicCache(this.#layout.prefix)
    this.#maxBytes = hint?.maxBytes ?? MAX_BYTES
    this.#link = new Link(port, {
      onMessage: message => this.#receive(message),
      onUnanswered: message => this.onUnanswered(message),
      onClose: () => this.fail(FST_MQTT_CLOSED('The thread that owns the connection has closed the port of this worker'), true)
    })
    process.on('exit', this.#onExit)
  }

  /** The main thread has answered. */
  get connected (): boolean {
    return this.#connected
  }

  /** Why nothing can be published through this client any more. */
  get over (): MqttError | undefined {
    return this.#over
  }

  /** The connection's prefix, once the main thread has told it. */
  get prefix (): string | undefined {
    return this.#connected ? this.#layout.prefix : undefined
  }

  /**
   * Goes on with another port: nobody took the last one.
   *
   * @param options.held nothing goes into it before somebody answers
   */
  bind (port: MessagePort, { held = false }: { held?: boolean } = {}): void {
    this.#link.bind(port, held)
  }

  /** Reads what has arrived, without waiting for the event loop to bring it. */
  drain (): void {
    this.#link.drain()
  }

  /** Resolves when the main thread has answered. */
  ready (): Promise<void> {
    if (this.#over !== undefined) return rejected(this.#over)
    if (this.#connected) return Promise.resolve()
    const waiter = deferred<void>()
    this.#waiting.push(waiter)
    this.#stayAwake()
    return waiter.promise
  }

  /** See `MultiMqtt.publish`. Never throws: bad input rejects. */
  publish (topic: string, payload?: unknown, options?: PublishOptions): Promise<PublishResult> {
    // A thread that does not come back to its event loop, as between the tasks of Piscina, gets its answers here.
    if (this.#batch.empty && (this.#unconfirmed > 0 || !this.#connected)) this.drain()
    try {
      return this.#publish(topic, payload, options === undefined ? NONE : checkPublishOptions(options))
    } catch (error) {
      return unsent(error)
    }
  }

  /** See `MultiMqtt.request`. Never throws. */
  request (topic: string, payload?: unknown, options?: RequestOptions): Promise<WorkerReply> {
    try {
      const prepared = prepareRequest(topic, payload, options)
      // Before anybody has answered, what is said is said twice; a request must not be.
      const answer = this.#connected ? this.#request(prepared) : this.ready().then(() => this.#request(prepared))
      // One that nobody awaits ends no worker.
      answer.catch(noop)
      return answer
    } catch (error) {
      return unsent(error)
    }
  }

  /** Nothing can be published through this client any more; whoever waits gets the error. */
  fail (error: MqttError, maybeSent: boolean): void {
    if (this.#over === undefined) this.#end(error)
    this.#pending.fail(0, Infinity, () => again(error, maybeSent))
    this.#requests.failAll(() => again(error, maybeSent))
    this.#link.close()
  }

  #request (prepared: PreparedRequest): Promise<WorkerReply> {
    if (this.#over !== undefined) throw again(this.#over, false)
    // Only for what it throws: the main thread takes a request without a topic for something that it cannot read.
    this.#topics.encode(prepared.topic, prepared.options.absolute ?? false)
    // Behind what was published before.
    this.#flush()
    const answer = this.#requests.send(prepared, message => this.#link.post(message))
    this.#stayAwake()
    return answer
  }

  #publish (topic: string, payload: unknown, options: CheckedPublishOptions): Promise<PublishResult> {
    const { qos = 0, retain = false, absolute = false, timeout, signal } = options
    if (signal?.aborted === true) throw aborted('publish', signal)
    const bytes = toPayload(payload)
    const properties = options.properties === undefined ? null : encodeProperties(options.properties)
    // None of the caller's code runs from here on (a toJSON may publish, too), so what is read now holds.
    if (this.#over !== undefined) throw again(this.#over, false)
    const { version } = this.#layout
    const name = this.#topics.encode(topic, absolute)
    const length = payloadLength(bytes)
    const size = publishLength(name.length, length, qos, version, properties)
    if (this.#unconfirmed + size > this.#maxBytes) return this.#refuse()
    if (!this.#batch.fits(size)) this.#flush()
    // Beyond the window, and while there is none yet, QoS 0 waits for its answer as the others do.
    const handsOver = qos === 0 && this.#connected && this.#unconfirmed + size <= this.#window
    const abortable = signal !== undefined && !handsOver
    const seq = this.#batch.add(
      { topic: name, payload: bytes, payloadLength: length, qos, retain, properties, size }, version,
      { timeout, abortable, absolute: absolute && !this.#connected })
    this.#unconfirmed += size
    const promise = handsOver ? (this.#turn ??= deferred<PublishResult>()).promise : this.#pending.add(seq)
    if (abortable) this.#pending.listen(seq, signal, () => this.#abort(seq, signal))
    if (!handsOver) this.#stayAwake()
    if (this.#exiting) this.#flush()
    else this.#scheduleEnd()
    return promise
  }

  #scheduleEnd (): void {
    if (this.#turnScheduled) return
    this.#turnScheduled = true
    queueMicrotask(this.#endTurn)
  }

  #refuse (): Promise<never> {
    this.#scheduleEnd()
    this.#refused ??= unsent(full(this.#unconfirmed, this.#maxBytes))
    return this.#refused
  }

  #flush (): void {
    if (this.#batch.empty) return
    this.#link.post(this.#batch.take(this.#layout, this.#connected))
    this.#turn?.resolve(CONFIRMED)
    this.#turn = undefined
  }

  #abort (seq: number, signal: AbortSignal): void {
    this.#flush()
    this.#link.post({ type: 'abort', seq })
    this.#pending.fail(seq, 1, () => again(aborted('publish', signal), true))
    this.#stayAwake()
  }

  #receive (message: unknown): void {
    switch (messageType(message)) {
      case 'hello': return this.#hello(message as HelloMessage)
      case 'version': return this.#relayout({ ...this.#layout, version: (message as VersionMessage).version })
      case 'routes': return this.routes.set((message as RoutesMessage).routes)
      case 'reply':
        this.#requests.answered(message as ReplyMessage)
        return this.#stayAwake()
      case 'unanswered':
        this.#requests.unanswered(message as UnansweredMessage)
        return this.#stayAwake()
      case 'settled': return this.#settled(message as SettledMessage)
      case 'closed': return this.#closed(message as ClosedMessage)
    }
  }

  #hello ({ prefix, version, maxBytes, window, routes }: HelloMessage): void {
    if (this.#connected) return
    this.#relayout({ prefix, version })
    this.#maxBytes = maxBytes
    this.#window = window
    this.routes.set(routes)
    this.#connected = true
    this.#link.connect()
    for (const waiter of this.#waiting.splice(0)) waiter.resolve()
    this.#stayAwake()
    this.onConnected()
  }

  #relayout (layout: Layout): void {
    // A batch is in one layout.
    this.#flush()
    if (layout.prefix !== this.#layout.prefix) this.#topics = new TopicCache(layout.prefix)
    this.#layout = layout
  }

  #settled ({ confirmed, codes, failed, credit, returned }: SettledMessage): void {
    for (const buffer of returned) this.#batch.reclaim(buffer)
    this.#unconfirmed -= credit
    for (let i = 0; i < confirmed.length; i += 2) this.#pending.confirm(confirmed[i]!, confirmed[i + 1]!, 0)
    for (let i = 0; i < codes.length; i += 2) this.#pending.confirm(codes[i]!, 1, codes[i + 1]!)
    for (const failure of failed) this.#pending.fail(failure.first, failure.count, () => reviveError(failure))
    this.#stayAwake()
  }

  /** What was taken is answered yet, and until then the port stays open. */
  #closed ({ taken, message }: ClosedMessage): void {
    const error = FST_MQTT_CLOSED(message) as MqttError
    this.#end(error)
    this.#pending.fail(taken, Infinity, () => again(error, false))
    this.#stayAwake()
  }

  #end (error: MqttError): void {
    this.#over = error
    process.off('exit', this.#onExit)
    this.#flush()
    for (const waiter of this.#waiting.splice(0)) rejectQuietly(waiter, error)
  }

  #stayAwake (): void {
    this.#link.stayAwake(this.#pending.size > 0 || this.#requests.size > 0 || this.#waiting.length > 0)
  }
}

/** The same error for another publish. */
function again (error: MqttError, maybeSent: boolean): MqttError {
  return reviveError({ code: error.code, message: error.message, maybeSent }, error.cause)
}

function full (bytes: number, limit: number): Error {
  return FST_MQTT_OUTBOX_FULL(`This worker has ${bytes} bytes unconfirmed (at most ${limit}, from outbox.maxBytes); await publishes, or raise the limit`)
}

function noop (): void {}
