import { receiveMessageOnPort, type MessagePort } from 'node:worker_threads'
import { FST_MQTT_ABORTED } from '../errors.ts'
import type { Source } from '../outbox/source.ts'
import { handOvers, tellHandedOver } from '../tracing.ts'
import type { Message, RequestOptions } from '../types/index.ts'
import type { ProtocolVersion } from '../wire/packet.ts'
import { Answers } from './answers.ts'
import { Intake, type IntakeOptions, type WorkerDelivery } from './intake.ts'
import { portable } from './portable.ts'
import {
  KEPT_MEMORY, messageType, PROTOCOL, type AbortMessage, type CancelMessage, type MainMessage, type PublishMessage, type RequestMessage, type RouteShape
} from './protocol.ts'
import { WorkerRequests } from './requests.ts'

/** What a worker's port needs to know. */
export interface WorkerPortOptions extends IntakeOptions {
  /** What a worker may have unconfirmed, in bytes. */
  readonly maxBytes: number
  /** Up to here QoS 0 counts as done for the worker when it is handed over. */
  readonly window: number
  /** The filters of `workers.topics`. */
  readonly topics?: readonly string[] | undefined
  /** Sends a request among what a source publishes. */
  readonly request: (source: Source, topic: string, payload: unknown, options: RequestOptions) => Promise<Message>
  /** The routes that have a name. */
  readonly routes: () => RouteShape[]
  /** The worker said what none of ours says; its port is being closed. */
  readonly onMalformed: (error: Error, threadId: number) => void
  readonly onClose: (port: WorkerPort) => void
}

/**
 * One worker, seen from the thread that owns the connection. It may be there before its port, or without one, when all
 * that has arrived of it is what it had broadcast.
 */
export class WorkerPort {
  #port: MessagePort | undefined
  readonly #threadId: number
  readonly #options: WorkerPortOptions
  readonly #intake: Intake
  readonly #answers = new Answers()
  readonly #requests: WorkerRequests
  /** Taken and not yet settled. */
  #unsettled = 0
  #answering = false
  /** Lent memory that has gone back, as far as it has not been lent again. */
  #back = 0
  #state: 'open' | 'closing' | 'closed' = 'open'

  constructor (threadId: number, options: WorkerPortOptions) {
    this.#threadId = threadId
    this.#options = options
    const { prefix, permits, maxBytes, window } = options
    const source = options.outbox.createSource(`Worker ${threadId}`, { maxBytes, window, threadId })
    this.#requests = new WorkerRequests({
      prefix,
      ...(permits !== undefined && { permits }),
      request: (topic, payload, request) => options.request(source, topic, payload, request).catch((error: unknown) => { throw portable(error) }),
      post: (message, transfer) => this.#post(message, transfer),
      onIdle: () => this.#answerSoon()
    })
    this.#intake = new Intake(source, options, {
      onSettled: (delivery, error, reasonCode) => this.#onSettled(delivery, error, reasonCode),
      onRefused: (seq, error, credit) => {
        this.#answers.fail(seq, 1, error, credit)
        this.#unsettled--
        this.#answerSoon()
      },
      onFree: buffer => this.#giveBack(buffer)
    })
  }

  /** How many publishes were taken. */
  get taken (): number {
    return this.#intake.taken
  }

  /** Gives the worker its port; what comes out of it again is left. */
  bind (port: MessagePort): void {
    const { prefix, version, maxBytes, window, topics, routes } = this.#options
    this.#port = port
    this.#post({
      type: 'hello', protocol: PROTOCOL, prefix, version: version(), maxBytes, window, ...(topics !== undefined && { topics }), routes: routes()
    })
    port.on('message', message => this.receive(message))
    // Not the worker's 'exit': that may come before the last of its messages, and this never does.
    port.on('close', () => this.end())
    port.unref()
    if (this.#state !== 'open') {
      // Its broadcast was not readable, or the application closes.
      this.#post({ type: 'closed', taken: this.#intake.taken, message: 'Nothing more is taken from this worker' })
      if (this.#state === 'closed') port.close()
    }
    if (!this.#answers.empty) this.#answerSoon()
  }

  /** Tells the worker to encode in this version. */
  setVersion (version: ProtocolVersion): void {
    if (this.#state === 'open') this.#post({ type: 'version', version })
  }

  /** Tells the worker of the routes that have a name. */
  setRoutes (routes: readonly RouteShape[]): void {
    if (this.#state === 'open') this.#post({ type: 'routes', routes })
  }

  /** Takes what the worker has posted up to now, without waiting for the event loop to bring it. */
  drain (): void {
    while (this.#state === 'open' && this.#port !== undefined) {
      const received = receiveMessageOnPort(this.#port)
      if (received === undefined) return
      this.receive(received.message)
    }
  }

  /** Takes nothing more. What was taken is answered yet; then the port closes. */
  close (message = 'The application has closed'): void {
    if (this.#state !== 'open') return
    this.#state = 'closing'
    this.#post({ type: 'closed', taken: this.#intake.taken, message })
    if (this.#isIdle) this.#finish()
  }

  get #isIdle (): boolean {
    return this.#unsettled === 0 && this.#requests.size === 0
  }

  /** Takes a message of the worker. */
  receive (message: unknown): void {
    try {
      switch (messageType(message)) {
        case 'publish':
          if (this.#state === 'open') this.#take(message as PublishMessage)
          return
        case 'abort':
          this.#intake.abort((message as AbortMessage).seq, FST_MQTT_ABORTED('The publish was aborted by its signal'))
          return
        case 'request':
          if (this.#state === 'open') this.#requests.take(message as RequestMessage)
          else this.#requests.refuse(message as RequestMessage)
          return
        case 'cancel':
          this.#requests.cancel((message as CancelMessage).id)
      }
    } catch (error) {
      this.#options.onMalformed(error as Error, this.#threadId)
      this.close('The main thread closed the port of this worker: it could not read what came through it')
    }
  }

  /** No more than the worker keeps: a thread that sleeps would hold the rest in its port, and one that is dead takes nothing. */
  #giveBack (buffer: ArrayBuffer): void {
    if (this.#state === 'closed' || this.#back + buffer.byteLength > KEPT_MEMORY) return
    this.#back += buffer.byteLength
    this.#answers.giveBack(buffer)
    this.#answerSoon()
  }

  #take (message: PublishMessage): void {
    if (message.used !== undefined) this.#back = Math.max(this.#back - message.buffer.byteLength, 0)
    const before = this.#intake.taken
    try {
      this.#intake.take(message)
    } finally {
      // What settled at once has been taken off before.
      const count = this.#intake.taken - before
      this.#unsettled += count
      if (count > 0 && handOvers.hasSubscribers) tellHandedOver({ namespace: this.#options.namespace, threadId: this.#threadId, count, bytes: message.used ?? message.buffer.byteLength })
    }
  }

  /** The worker is gone, or its port is: what it handed over goes on its way, and nobody is to be told. */
  end (): void {
    this.#state = 'closed'
    // Nobody takes these any more, and there may be lent memory among them.
    this.#answers.take()
    this.#requests.end()
    this.#options.onClose(this)
  }

  #onSettled (delivery: WorkerDelivery, error: Error | null, reasonCode: number): void {
    const { first, messages, credit } = delivery
    if (error === null) this.#answers.confirm(first, messages, reasonCode, credit)
    else this.#answers.fail(first, messages, error, credit)
    this.#unsettled -= messages
    this.#answerSoon()
  }

  /**
   * One message for all that settles in a turn of the event loop. A microtask would send one for each read of the
   * socket, and a broker that answers with a segment for each message makes that one for each answer; what runs right
   * after the reads of a turn costs no time.
   */
  #answerSoon (): void {
    if (this.#answering || this.#state === 'closed' || this.#port === undefined) return
    this.#answering = true
    setImmediate(() => {
      this.#answering = false
      this.#answer()
      if (this.#state === 'closing' && this.#isIdle) this.#finish()
    })
  }

  #answer (): void {
    if (this.#state === 'closed' || this.#answers.empty) return
    const message = this.#answers.take()
    this.#post(message, message.returned)
  }

  #finish (): void {
    this.#answer()
    this.#state = 'closed'
    if (this.#port === undefined) this.end()
    else this.#port.close()
  }

  #post (message: MainMessage, transfer: ArrayBuffer[] = []): void {
    this.#port?.postMessage(message, transfer)
  }
}
