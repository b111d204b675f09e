import type { FastifyInstance } from 'fastify'
import { FST_MQTT_OPTIONS, logFailure } from '../errors.ts'
import { trimSlashes } from '../topics/prefix.ts'
import type { ErrorHandler, Message } from '../types/index.ts'
import type { JsonReader } from '../wire/body.ts'
import { Hooks } from './hooks.ts'
import { isThenable, toError } from './thenable.ts'

/** What is encapsulated: one Fastify instance's side of a connection. */
export class Scope {
  readonly instance: FastifyInstance
  readonly parent: Scope | undefined
  readonly json: JsonReader
  readonly hooks: Hooks
  /** Put before the patterns of routes that are declared here; it may hold placeholders. Without slashes at its ends. */
  readonly mqttPrefix: string
  /** The part of it that is not of the scopes around this one. */
  readonly ownPrefix: string
  readonly #root: Scope
  readonly #running = new Set<AbortController>()
  readonly #timers = new Set<NodeJS.Timeout>()
  #closing: Error | undefined
  #errorHandler: ErrorHandler | undefined

  constructor (instance: FastifyInstance, parent?: Scope, mqttPrefix = '') {
    this.instance = instance
    this.parent = parent
    this.mqttPrefix = [parent?.mqttPrefix ?? '', mqttPrefix].filter(part => part !== '').join('/')
    this.ownPrefix = mqttPrefix
    this.#root = parent === undefined ? this : parent.#root
    this.json = parent?.json ?? { parse: fastifyJsonParser(instance), limit: instance.initialConfig.bodyLimit ?? Infinity }
    this.hooks = new Hooks(parent?.hooks)
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
   * Hands an error to the nearest error handler, up to the default, which logs it. What an error handler throws goes to the
   * next one out, as in Fastify. Gives a promise only when a handler does, and never rejects.
   */
  handleError (error: Error, message: Message): Promise<void> | undefined {
    const scope = this.#withErrorHandler()
    const further = (second: unknown): Promise<void> | undefined => (scope?.parent ?? NOBODY).handleError(toError(second), message)
    try {
      const result = scope === undefined ? logFailure(message.log, error, 'MQTT handler failed') : scope.#errorHandler!.call(scope.instance, error, message)
      return isThenable(result) ? Promise.resolve(result).then(noop, further) : undefined
    } catch (second) {
      return further(second)
    }
  }

  #withErrorHandler (): Scope | undefined {
    let scope: Scope | undefined = this
    while (scope !== undefined && scope.#errorHandler === undefined) scope = scope.parent
    return scope
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

  /** A limit to what a handler may take; over when the application has closed, which would stay alive for it. */
  startTimer (due: () => void, milliseconds: number): NodeJS.Timeout {
    const timers = this.#root.#timers
    const timer = setTimeout(() => {
      timers.delete(timer)
      due()
    }, milliseconds)
    timers.add(timer)
    return timer
  }

  stopTimer (timer: NodeJS.Timeout): void {
    clearTimeout(timer)
    this.#root.#timers.delete(timer)
  }

  /** The application has closed: what still hangs is nobody's concern. */
  end (): void {
    for (const timer of this.#root.#timers) this.stopTimer(timer)
  }

  /** Aborts the signals of all handlers, in every scope of the connection. */
  abortAll (reason: Error): void {
    this.#root.#closing = reason
    for (const controller of this.#root.#running) controller.abort(reason)
    this.#root.#running.clear()
  }
}

/** Further out than the outermost scope there is the log. */
const NOBODY: Pick<Scope, 'handleError'> = {
  handleError (error, message) {
    logFailure(message.log, error, 'MQTT error handler failed')
    return undefined
  }
}

function noop (): void {}

function fastifyJsonParser (instance: FastifyInstance): JsonReader['parse'] {
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
