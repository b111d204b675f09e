import type { FastifyInstance } from 'fastify'
import { FST_MQTT_OPTIONS } from '../errors.ts'
import { trimSlashes } from '../topics/prefix.ts'
import type { ErrorHandler, Handler, Message } from '../types.ts'
import type { JsonParser } from '../wire/body.ts'
import { isThenable } from './thenable.ts'

/** What is encapsulated: one Fastify instance's side of a connection. */
export class Scope {
  readonly instance: FastifyInstance
  readonly parent: Scope | undefined
  readonly parseJson: JsonParser
  /** Put before the patterns of routes that are declared here; it may hold placeholders. Without slashes at its ends. */
  readonly mqttPrefix: string
  readonly #root: Scope
  readonly #running = new Set<AbortController>()
  #closing: Error | undefined
  #errorHandler: ErrorHandler | undefined

  constructor (instance: FastifyInstance, parent?: Scope, mqttPrefix = '') {
    this.instance = instance
    this.parent = parent
    this.mqttPrefix = [parent?.mqttPrefix ?? '', mqttPrefix].filter(part => part !== '').join('/')
    this.#root = parent === undefined ? this : parent.#root
    this.parseJson = parent?.parseJson ?? fastifyJsonParser(instance)
  }

  /**
   * The scope of an instance encapsulated in this one.
   *
   * @param mqttPrefix what `register` was told
   * @throws `FST_MQTT_PATTERN`, `FST_MQTT_OPTIONS`
   */
  derive (instance: FastifyInstance, mqttPrefix: unknown = ''): Scope {
    if (typeof mqttPrefix !== 'string') throw FST_MQTT_OPTIONS('mqttPrefix: must be a string')
    return new Scope(instance, this, trimSlashes(mqttPrefix))
  }

  setErrorHandler (handler: ErrorHandler): void {
    this.#errorHandler = handler
  }

  /**
   * Hands an error to the nearest error handler, up to the default, which logs it. Gives a promise only when the handler
   * does, and never rejects: what an error handler throws is logged.
   */
  handleError (error: Error, message: Message): Promise<void> | undefined {
    try {
      const result = this.#callErrorHandler(error, message)
      return isThenable(result) ? Promise.resolve(result).then(noop, second => logSecond(second, message)) : undefined
    } catch (second) {
      logSecond(second, message)
      return undefined
    }
  }

  #callErrorHandler (error: Error, message: Message): unknown {
    for (let scope: Scope | undefined = this; scope !== undefined; scope = scope.parent) {
      if (scope.#errorHandler !== undefined) return scope.#errorHandler.call(scope.instance, error, message)
    }
    message.log.error({ err: error }, 'MQTT handler failed')
    return undefined
  }

  /** Why the signals of all handlers are aborted; undefined until the application closes. */
  get closing (): Error | undefined {
    return this.#root.#closing
  }

  /** A handler looks at its signal: it is aborted when the application closes. */
  abortOnClose (controller: AbortController): void {
    if (this.closing !== undefined) controller.abort(this.closing)
    else this.#root.#running.add(controller)
  }

  release (controller: AbortController): void {
    this.#root.#running.delete(controller)
  }

  /** Aborts the signals of all handlers, in every scope of the connection. */
  abortAll (reason: Error): void {
    this.#root.#closing = reason
    for (const controller of this.#root.#running) controller.abort(reason)
    this.#root.#running.clear()
  }
}

function logSecond (error: unknown, message: Message): void {
  message.log.error({ err: error }, 'MQTT error handler failed')
}

function noop (): void {}

/** The handler of messages that no route matched. */
export interface NotFound {
  readonly scope: Scope
  readonly handler: Handler
}

function fastifyJsonParser (instance: FastifyInstance): JsonParser {
  const parse = instance.getDefaultJsonParser('error', 'error')
  return text => {
    let result: unknown
    // It calls back at once; the request is not looked at.
    void parse(undefined as never, text, (error, body) => {
      if (error !== null) throw error
      result = body
    })
    return result
  }
}
