import type { MessagePort } from 'node:worker_threads'
import {
  clock, messageType, NOT_PERMITTED, PROTOCOL, type ClosedMessage, type ConnectionHint, type HelloMessage, type Layout, type MismatchMessage, type ReplyMessage,
  type RoutesMessage, type SettledMessage, type UnansweredMessage, type VersionMessage, type WorkerMessage
} from '../lib/bridge/protocol.ts'
import { FST_MQTT_CLOSED, FST_MQTT_NO_PLUGIN, FST_MQTT_OUTBOX_FULL, FST_MQTT_TIMEOUT, FST_MQTT_WORKER_TOPIC, aborted, rejected, unsent, type MqttError } from '../lib/errors.ts'
import { filterMatches } from '../lib/topics/filter.ts'
import type { PublishOptions, PublishResult, RequestOptions } from '../lib/types/index.ts'
import { payloadLength, publishLength } from '../lib/wire/encode.ts'
import { toPayload } from '../lib/wire/payload.ts'
import { encodeProperties } from '../lib/wire/properties.ts'
import { checkPublishOptions, type CheckedPublishOptions } from '../lib/wire/publish-options.ts'
import { TopicCache } from '../lib/wire/topic-cache.ts'
import { Batch } from './batch.ts'
import { Link, type BindOptions } from './link.ts'
import { CONFIRMED, deferred, Pending, rejectQuietly, reviveError, type Deferred } from './pending.ts'
import type { WorkerReply } from './reply.ts'
import { prepareRequest, Requests, type PreparedRequest } from './requests.ts'
import { Routes } from './routes.ts'

const NONE: CheckedPublishOptions = Object.freeze(checkPublishOptions({}))
/** Until the main thread has said what it takes: the default of `outbox.maxBytes`. */
const MAX_BYTES = 64 * 1024 * 1024
/** What a publish that waits for its answer takes in memory besides its bytes: its promise, and what finds it again. */
const ENTRY_BYTES = 512
const UNANSWERED = 'The thread of the application has not answered in time (option timeout)'
/** What a timer can wait. */
const MAX_WAIT = 2 ** 31 - 1

const open = new Set<WorkerClient>()
/** From the first listener of 'exit' on: no microtask runs any more. */
let exiting = false

process.prependListener('exit', () => {
  exiting = true
  for (const client of open) client.handOver()
})

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
  /** Where it may publish, as far as the main thread has told it; all topics without. */
  #filters: readonly string[] | undefined
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
  /** Called once, when the main thread has answered: it has taken this worker in, or never will. */
  onAnswered: () => void = () => {}
  /** Called with all that is handed over as long as the main thread has not answered. */
  onUnanswered: (message: WorkerMessage) => void = () => {}
  /** Called when what has arrived is read, as long as the main thread has not answered. */
  onDrain: () => void = () => {}

  readonly #endTurn = (): void => {
    this.#turnScheduled = false
    this.#refused = undefined
    if (!this.#connected) this.onDrain()
    this.#flush()
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
    open.add(this)
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

  /** Goes on with another port: nobody took the last one, as far as is known. */
  bind (port: MessagePort, options?: BindOptions): void {
    this.#link.bind(port, options)
  }

  /** Reads what has arrived, without waiting for the event loop to bring it. */
  drain (): void {
    this.#link.drain()
    if (!this.#connected) this.onDrain()
  }

  /** The thread ends. */
  handOver (): void {
    this.drain()
    this.#flush()
    this.#link.handOver()
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
    this.#catchUp()
    try {
      return this.#publish(topic, payload, options === undefined ? NONE : checkPublishOptions(options))
    } catch (error) {
      return unsent(error)
    }
  }

  /** See `MultiMqtt.request`. Never throws. */
  request (topic: string, payload?: unknown, options?: RequestOptions): Promise<WorkerReply> {
    this.#catchUp()
    try {
      const answer = this.#request(prepareRequest(topic, payload, options))
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
    this.onAnswered()
  }

  /** A thread that does not come back to its event loop, as between the tasks of Piscina, gets its answers here. */
  #catchUp (): void {
    if (this.#batch.empty) this.drain()
  }

  #request (prepared: PreparedRequest): Promise<WorkerReply> {
    if (this.#over !== undefined) throw again(this.#over, false)
    // Only for what it throws: the main thread takes a request without a topic for something that it cannot read.
    this.#topics.encode(prepared.asked.topic, prepared.asked.options.absolute ?? false)
    if (this.#held + prepared.bytes > this.#maxBytes) throw full(this.#held, this.#maxBytes)
    // Behind what was published before.
    this.#flush()
    const answer = this.#requests.send(prepared, message => this.#link.post(message))
    this.#stayAwake()
    return answer
  }

  #publish (topic: string, payload: unknown, options: CheckedPublishOptions): Promise<PublishResult> {
    const { qos = 0, retain = false, absolute = false, timeout, signal } = options
    const bytes = toPayload(payload)
    const properties = options.properties === undefined ? null : encodeProperties(options.properties)
    // None of the caller's code runs from here on (a toJSON may publish, too), so what is read now holds.
    if (signal?.aborted === true) throw aborted('publish', signal)
    if (this.#over !== undefined) throw again(this.#over, false)
    const { version } = this.#layout
    const name = this.#topics.encode(topic, absolute)
    if (this.#filters !== undefined) this.#assertPermitted(topic, absolute)
    const length = payloadLength(bytes)
    const size = publishLength(name.length, length, qos, version, properties)
    if (this.#held + size > this.#maxBytes) return this.#refuse()
    if (!this.#batch.fits(size)) this.#flush()
    // Beyond the window, and while there is none yet, QoS 0 waits for its answer as the others do.
    const handsOver = qos === 0 && this.#connected && this.#unconfirmed + size <= this.#window
    const abortable = signal !== undefined && !handsOver
    const seq = this.#batch.add(
      { topic: name, payload: bytes, payloadLength: length, qos, retain, properties, size }, version,
      { deadline: timeout && clock() + timeout, abortable, absolute: absolute && !this.#connected })
    this.#unconfirmed += size
    const promise = handsOver ? (this.#turn ??= deferred<PublishResult>()).promise : this.#pending.add(seq)
    if (abortable) this.#pending.listen(seq, signal, () => this.#abort(seq, signal))
    if (timeout !== undefined && timeout > 0 && !this.#connected) this.#watch(seq, timeout)
    if (!handsOver) this.#stayAwake()
    if (exiting) this.#flush()
    else this.#scheduleEnd()
    return promise
  }

  /** What it has in memory for publishes that are not confirmed and requests that are not answered, in bytes. */
  get #held (): number {
    return this.#unconfirmed + this.#pending.size * ENTRY_BYTES + this.#requests.bytes
  }

  /** The main thread keeps an eye on deadlines as soon as it has answered; until then nobody else does. */
  #watch (seq: number, timeout: number): void {
    const timer = setTimeout(() => {
      if (!this.#connected) this.#pending.fail(seq, 1, () => again(FST_MQTT_TIMEOUT(UNANSWERED) as MqttError, true))
    }, Math.min(timeout, MAX_WAIT))
    // The publish itself keeps the thread alive.
    timer.unref()
    this.#pending.onEnd(seq, () => { clearTimeout(timer) })
  }

  /** The main thread judges, too; but nobody waits for what becomes of QoS 0. */
  #assertPermitted (topic: string, absolute: boolean): void {
    const { prefix } = this.#layout
    const whole = absolute || prefix === '' ? topic : `${prefix}/${topic}`
    if (!this.#filters!.some(filter => filterMatches(filter, whole))) throw FST_MQTT_WORKER_TOPIC(NOT_PERMITTED)
  }

  #scheduleEnd (): void {
    if (this.#turnScheduled) return
    this.#turnScheduled = true
    queueMicrotask(this.#endTurn)
  }

  #refuse (): Promise<never> {
    this.#scheduleEnd()
    this.#refused ??= unsent(full(this.#held, this.#maxBytes))
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
      case 'mismatch': return this.#mismatch(message as MismatchMessage)
    }
  }

  #hello ({ prefix, version, maxBytes, window, topics, routes }: HelloMessage): void {
    if (this.#connected) return
    this.#relayout({ prefix, version })
    this.#maxBytes = maxBytes
    this.#window = window
    this.#filters = topics
    this.routes.set(routes)
    this.#connected = true
    this.#link.connect()
    for (const waiter of this.#waiting.splice(0)) waiter.resolve()
    this.#stayAwake()
    this.onAnswered()
  }

  #mismatch ({ protocol }: MismatchMessage): void {
    if (this.#connected || this.#over !== undefined) return
    this.fail(FST_MQTT_NO_PLUGIN(`The application has another version of fastify-multimqtt than this worker: it speaks ${protocol}, this one ${PROTOCOL}; install one version`) as MqttError, false)
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
    open.delete(this)
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
