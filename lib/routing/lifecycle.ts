import type { FastifyInstance } from 'fastify'
import { logFailure } from '../errors.ts'
import type { OnErrorHook, OnHandledHook, PreHandlerHook } from '../types/index.ts'
import type { InboundMessage } from './message.ts'
import type { BodyCheck, Serialize } from './schema.ts'
import type { Scope } from './scope.ts'
import { isThenable } from './thenable.ts'

/** Something that a message has to pass before its handlers. What it throws is the message's failure. */
export type Step = (this: FastifyInstance, message: InboundMessage) => unknown

/** The hooks that a route has of its own. */
export interface RouteHooks {
  readonly preHandler: readonly PreHandlerHook[]
  readonly onError: readonly OnErrorHook[]
}

const NO_HOOKS: RouteHooks = { preHandler: [], onError: [] }

/** What happens to the messages of a route, or of none, besides their handlers. Worked out when hooks change, not for each message. */
export class Lifecycle {
  readonly scope: Scope
  readonly #own: RouteHooks
  readonly #routed: boolean
  /** By the schema of the reply. */
  serialize: Serialize | undefined
  #check: BodyCheck | undefined
  #clock = -1
  #before: readonly Step[] = []
  #onHandled: readonly OnHandledHook[] = []
  #onError: readonly OnErrorHook[] = []

  /** @param own given for a route; a message without one has no body to be checked and no preHandler */
  constructor (scope: Scope, own?: RouteHooks) {
    this.scope = scope
    this.#own = own ?? NO_HOOKS
    this.#routed = own !== undefined
  }

  /** Checks bodies by a schema from now on. */
  checkBody (check: BodyCheck): void {
    this.#check = check
    this.#clock = -1
  }

  /** What comes before the handlers, in order: onMessage, the schema, preHandler. */
  get before (): readonly Step[] {
    this.#refresh()
    return this.#before
  }

  /** The handlers have ended well. Never throws and never rejects. */
  handled (message: InboundMessage, result: unknown): Promise<void> | undefined {
    this.#refresh()
    return this.#onHandled.length === 0 ? undefined : this.#tell(this.#onHandled, hook => hook.call(this.scope.instance, message, result), message)
  }

  /** Hands an error to the onError hooks and then to the error handler. Never throws and never rejects. */
  failed (error: Error, message: InboundMessage): Promise<void> | undefined {
    this.#refresh()
    const telling = this.#onError.length === 0 ? undefined : this.#tell(this.#onError, hook => hook.call(this.scope.instance, error, message), message)
    return telling === undefined ? this.scope.handleError(error, message) : telling.then(() => this.scope.handleError(error, message))
  }

  #refresh (): void {
    const { hooks } = this.scope
    if (this.#clock === hooks.clock) return
    this.#clock = hooks.clock
    const check = this.#check
    this.#before = [
      ...hooks.get('onMessage'),
      ...check === undefined ? [] : [(message: InboundMessage) => message.validate(check)],
      ...this.#routed ? hooks.get('preHandler') : [],
      ...this.#own.preHandler
    ]
    this.#onHandled = hooks.get('onHandled')
    this.#onError = [...hooks.get('onError'), ...this.#own.onError]
  }

  /** One after another, whatever each of them does. */
  #tell<H> (hooks: readonly H[], call: (hook: H) => unknown, message: InboundMessage, from = 0): Promise<void> | undefined {
    const failed = (error: unknown): void => logFailure(message.log, error, 'MQTT hook failed')
    for (let i = from; i < hooks.length; i++) {
      try {
        const result = call(hooks[i]!)
        if (isThenable(result)) return Promise.resolve(result).then(noop, failed).then(() => this.#tell(hooks, call, message, i + 1))
      } catch (error) {
        failed(error)
      }
    }
    return undefined
  }
}

function noop (): void {}
