import { FST_MQTT_HANDLER_TIMEOUT } from '../errors.ts'
import type { Reception } from '../inbox/inbox.ts'
import type { Job, Track } from '../inbox/scheduler.ts'
import type { Handler } from '../types.ts'
import type { InboundMessage } from './message.ts'
import type { MqttRoute } from './route.ts'
import type { NotFound, Scope } from './scope.ts'
import { isThenable, toError } from './thenable.ts'

/** "Implementation specific error": what an MQTT 5 broker is told of a message whose handler failed. */
const HANDLER_FAILED = 0x83

/** Gets what each route of a message that asks for an answer has made of it. */
export interface ReplySink {
  returned (route: MqttRoute, value: unknown): void
  failed (route: MqttRoute, error: Error): void
}

/** How handling ended, counted. */
export interface HandlingCounters {
  handled: number
  failed: number
}

/** Runs handlers on a message, whatever they do: throw, reject, take too long. */
abstract class HandlerJob implements Job {
  readonly track: Track
  readonly message: InboundMessage
  readonly #scope: Scope
  /** Milliseconds for the handlers, and as many for the error handler; 0 is none. */
  readonly #limit: number
  readonly #reception: Reception
  readonly #counters: HandlingCounters

  constructor (track: Track, scope: Scope, limit: number, message: InboundMessage, reception: Reception, counters: HandlingCounters) {
    this.track = track
    this.message = message
    this.#scope = scope
    this.#limit = limit
    this.#reception = reception
    this.#counters = counters
  }

  get key (): string {
    return this.message.absoluteTopic
  }

  /** Runs the handlers in order; gives a promise only when one of them waits for something. */
  protected abstract handle (): unknown

  run (): Promise<void> | undefined {
    this.#reception.started = true
    let result: unknown
    try {
      result = this.handle()
    } catch (error) {
      return this.#failed(error)
    }
    if (isThenable(result)) return this.#limited(result, 'handler').then(value => this.#succeeded(value), error => this.#failed(error))
    this.#succeeded(result)
    return undefined
  }

  keep (): void {
    this.message.keep(this.#reception.publish)
  }

  get dropped (): boolean {
    return this.#reception.dropped
  }

  /** The handlers have ended. */
  protected returned (_value: unknown): void {}

  /** The handlers have failed, and the error handler has seen it. */
  protected gaveUp (_error: Error): void {}

  #succeeded (value: unknown): void {
    this.#counters.handled++
    this.returned(value)
    this.#settle(0)
  }

  #failed (thrown: unknown): Promise<void> | undefined {
    if (this.message.closing) {
      this.message.finish()
      this.#reception.interrupted()
      return undefined
    }
    this.#counters.failed++
    const error = toError(thrown)
    const handling = this.#scope.handleError(error, this.message)
    if (handling === undefined) {
      this.gaveUp(error)
      this.#settle(HANDLER_FAILED)
      return undefined
    }
    // One that never ends would hold the acknowledgement, and with it all later ones.
    return this.#limited(handling, 'error handler').then(noop, late => this.#late(late)).then(() => {
      this.gaveUp(error)
      this.#settle(HANDLER_FAILED)
    })
  }

  #late (error: Error): void {
    this.message.log.error({ err: error }, 'MQTT error handler failed')
  }

  #limited (running: PromiseLike<unknown>, who: string): Promise<unknown> {
    const limit = this.#limit
    if (limit === 0) return Promise.resolve(running)
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        const error = FST_MQTT_HANDLER_TIMEOUT(`The ${who} of "${this.message.route?.pattern ?? this.message.topic}" took longer than ${limit} ms (option handlerTimeout)`)
        this.message.abort(error)
        reject(error)
      }, limit)
      running.then(
        value => { clearTimeout(timer); resolve(value) },
        error => { clearTimeout(timer); reject(error) }
      )
    })
  }

  #settle (reasonCode: number): void {
    this.message.finish()
    this.#reception.settled(reasonCode)
  }
}

/** A route's handlers on one message. */
export class RouteJob extends HandlerJob {
  readonly #route: MqttRoute
  readonly #reply: ReplySink | undefined

  constructor (route: MqttRoute, message: InboundMessage, reception: Reception, counters: HandlingCounters, reply: ReplySink | undefined) {
    super(route.definition.track, route.definition.scope, route.definition.handlerTimeout, message, reception, counters)
    this.#route = route
    this.#reply = reply
  }

  protected handle (): unknown {
    const { handlers, context } = this.#route
    return handlers.length === 1 ? handlers[0]!.call(context, this.message) : this.#each(handlers, 0)
  }

  protected override returned (value: unknown): void {
    this.#reply?.returned(this.#route, value)
  }

  protected override gaveUp (error: Error): void {
    this.#reply?.failed(this.#route, error)
  }

  /** What the first handler returned that is not undefined. */
  #each (handlers: readonly Handler[], from: number, found?: unknown): unknown {
    for (let i = from; i < handlers.length; i++) {
      const result = handlers[i]!.call(this.#route.context, this.message)
      if (isThenable(result)) return Promise.resolve(result).then(value => this.#each(handlers, i + 1, found === undefined ? value : found))
      if (found === undefined) found = result
    }
    return found
  }
}

/** The not-found handler on one message. */
export class NotFoundJob extends HandlerJob {
  readonly #scope: Scope
  readonly #handler: Handler

  constructor (track: Track, { scope, handler }: NotFound, limit: number, message: InboundMessage, reception: Reception, counters: HandlingCounters) {
    super(track, scope, limit, message, reception, counters)
    this.#scope = scope
    this.#handler = handler
  }

  protected handle (): unknown {
    return this.#handler.call(this.#scope.instance, this.message)
  }
}

function noop (): void {}
