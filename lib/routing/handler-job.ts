import { FST_MQTT_HANDLER_TIMEOUT } from '../errors.ts'
import type { Reception } from '../inbox/inbox.ts'
import type { Job, Track } from '../inbox/scheduler.ts'
import type { Handler } from '../types.ts'
import type { InboundMessage } from './message.ts'
import type { MqttRoute } from './route.ts'
import type { Scope } from './scope.ts'
import { isThenable, toError } from './thenable.ts'

/** "Implementation specific error": what an MQTT 5 broker is told of a message whose handler failed. */
const HANDLER_FAILED = 0x83

const EMPTY = Buffer.alloc(0)

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
  readonly #reception: Reception
  readonly #counters: HandlingCounters

  constructor (track: Track, scope: Scope, message: InboundMessage, reception: Reception, counters: HandlingCounters) {
    this.track = track
    this.message = message
    this.#scope = scope
    this.#reception = reception
    this.#counters = counters
  }

  get key (): string {
    return this.message.absoluteTopic
  }

  /** Runs the handlers in order; gives a promise only when one of them waits for something. */
  protected abstract handle (): unknown

  run (): Promise<void> | undefined {
    if (this.#reception.dropped) return undefined
    this.#reception.started = true
    let result: unknown
    try {
      result = this.handle()
    } catch (error) {
      return this.#failed(error)
    }
    if (isThenable(result)) return Promise.resolve(result).then(() => this.#succeeded(), error => this.#failed(error))
    this.#succeeded()
    return undefined
  }

  keep (): void {
    this.message.keep(this.#reception.publish)
  }

  drop (): void {
    this.message.payload = EMPTY
  }

  #succeeded (): void {
    this.#counters.handled++
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
      this.#settle(HANDLER_FAILED)
      return undefined
    }
    return handling.then(() => this.#settle(HANDLER_FAILED))
  }

  #settle (reasonCode: number): void {
    this.message.finish()
    this.#reception.settled(reasonCode)
  }
}

/** A route's handlers on one message. */
export class RouteJob extends HandlerJob {
  readonly #route: MqttRoute

  constructor (route: MqttRoute, message: InboundMessage, reception: Reception, counters: HandlingCounters) {
    super(route.definition.track, route.definition.scope, message, reception, counters)
    this.#route = route
  }

  protected handle (): unknown {
    const { handlers, context, definition } = this.#route
    const result = handlers.length === 1 ? handlers[0]!.call(context, this.message) : this.#each(handlers, 0)
    return definition.handlerTimeout > 0 && isThenable(result) ? this.#limited(result, definition.handlerTimeout) : result
  }

  #each (handlers: readonly Handler[], from: number): unknown {
    for (let i = from; i < handlers.length; i++) {
      const result = handlers[i]!.call(this.#route.context, this.message)
      if (isThenable(result)) return Promise.resolve(result).then(() => this.#each(handlers, i + 1))
    }
    return undefined
  }

  #limited (running: PromiseLike<unknown>, limit: number): Promise<unknown> {
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        const error = FST_MQTT_HANDLER_TIMEOUT(`The handler of "${this.#route.pattern}" took longer than ${limit} ms (option handlerTimeout)`)
        this.message.abort(error)
        reject(error)
      }, limit)
      running.then(
        value => { clearTimeout(timer); resolve(value) },
        error => { clearTimeout(timer); reject(error) }
      )
    })
  }
}

/** The not-found handler on one message. */
export class NotFoundJob extends HandlerJob {
  readonly #scope: Scope
  readonly #handler: Handler

  constructor (track: Track, scope: Scope, handler: Handler, message: InboundMessage, reception: Reception, counters: HandlingCounters) {
    super(track, scope, message, reception, counters)
    this.#scope = scope
    this.#handler = handler
  }

  protected handle (): unknown {
    return this.#handler.call(this.#scope.instance, this.message)
  }
}
