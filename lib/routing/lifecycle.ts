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

/** What a message passes, as it stands when the message sets out: hooks that are added meanwhile are for the next one. */
export interface Way {
  /** What comes before the handlers, in order: onMessage, the schema, preHandler. */
  readonly before: readonly Step[]
  readonly onHandled: readonly OnHandledHook[]
  readonly onError: readonly OnErrorHook[]
}

export const NO_WAY: Way = { before: [], onHandled: [], onError: [] }
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
  #way = NO_WAY

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

  get way (): Way {
    this.#refresh()
    return this.#way
  }

  /** The handlers have ended well. Never throws and never rejects. */
  handled (message: InboundMessage, result: unknown, { onHandled } = this.way): Promise<void> | undefined {
    return onHandled.length === 0 ? undefined : this.#tell(onHandled, hook => hook.call(this.scope.instance, message, result), message)
  }

  /** Hands an error to the onError hooks and then to the error handler. Never throws and never rejects. */
  failed (error: Error, message: InboundMessage, { onError } = this.way): Promise<void> | undefined {
    const telling = onError.length === 0 ? undefined : this.#tell(onError, hook => hook.call(this.scope.instance, error, message), message)
    return telling === undefined ? this.scope.handleError(error, message) : telling.then(() => this.scope.handleError(error, message))
  }

  #refresh (): void {
    const { hooks } = this.scope
    if (this.#clock === hooks.clock) return
    this.#clock = hooks.clock
    const check = this.#check
    this.#way = {
      before: [
        ...hooks.get('onMessage'),
        ...check === undefined ? [] : [(message: InboundMessage) => message.validate(check)],
        ...this.#routed ? hooks.get('preHandler') : [],
        ...this.#own.preHandler
      ],
      onHandled: hooks.get('onHandled'),
      onError: [...hooks.get('onError'), ...this.#own.onError]
    }
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
