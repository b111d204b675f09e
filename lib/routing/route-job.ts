import { logFailure } from '../errors.ts'
import type { Reception } from '../inbox/inbox.ts'
import type { Handler } from '../types/index.ts'
import { deadLetterFrom } from './dead-letters.ts'
import { HandlerJob, type HandlingTools } from './handler-job.ts'
import type { InboundMessage } from './message.ts'
import type { Observer } from './observer.ts'
import type { MqttRoute } from './route.ts'
import { isJson } from './schema.ts'
import { isThenable } from './thenable.ts'

/** Gets what each route of a message that asks for an answer has made of it. */
export interface ReplySink {
  returned (route: MqttRoute, value: unknown): void
  failed (route: MqttRoute, error: Error): void
}

/** A route's handlers on one message. */
export class RouteJob extends HandlerJob {
  readonly #route: MqttRoute
  readonly #reply: ReplySink | undefined
  /** Those of the moment when the message came: some may come or go meanwhile. */
  readonly #handlers: readonly Handler[]
  #done = 0
  #found: unknown

  constructor (route: MqttRoute, message: InboundMessage, reception: Reception, tools: HandlingTools, reply: ReplySink | undefined, observer: Observer | undefined) {
    super(route.definition, message, reception, tools, observer)
    this.#route = route
    this.#reply = reply
    this.#handlers = route.handlers
  }

  /** What the first handler returned that is not undefined. */
  protected handle (attempt: number): unknown {
    const handlers = this.#handlers
    if (handlers.length === 1) return handlers[0]!.call(this.#route.context, this.message)
    while (this.#done < handlers.length) {
      const result = handlers[this.#done]!.call(this.#route.context, this.message)
      if (isThenable(result)) {
        return Promise.resolve(result).then(value => {
          if (!this.isCurrent(attempt)) return undefined
          this.#handled(value)
          return this.handle(attempt)
        })
      }
      this.#handled(result)
    }
    return this.#found
  }

  protected override returned (value: unknown): void {
    const { serialize } = this.#route.definition.lifecycle
    const answer = this.#reply !== undefined && serialize !== undefined && isJson(value) ? serialize(value) : value
    this.observer?.returned(this.#route, value)
    this.#reply?.returned(this.#route, answer)
  }

  protected override gaveUp (error: Error): void {
    this.#reply?.failed(this.#route, error)
  }

  protected override bury (error: Error): Promise<boolean> | undefined {
    const { deadLetter } = this.#route.definition
    if (deadLetter === undefined) return undefined
    if (deadLetter === this.message.absoluteTopic || deadLetter === deadLetterFrom(this.message)) {
      logFailure(this.message.log, error, 'MQTT dead letter failed: it has come from there')
      return undefined
    }
    return this.tools.deadLetters.send(deadLetter, this.message, error).then(() => true, failure => {
      if ((failure as { code?: unknown }).code === 'FST_MQTT_CLOSED') return false
      logFailure(this.message.log, failure, 'MQTT dead letter failed')
      return true
    })
  }

  #handled (value: unknown): void {
    this.#done++
    if (this.#found === undefined) this.#found = value
  }
}
