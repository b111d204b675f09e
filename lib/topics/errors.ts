/*
 * The two errors that topics/ throws. They have the shape of @fastify/error (name, code, statusCode, and the
 * registered symbols behind its `instanceof`), but import nothing: this folder also runs in browsers and workers.
 */

/** What every coded error of this package looks like. */
export interface CodedError extends Error {
  readonly code: string
  readonly statusCode: number
}

/** A constructor of coded errors, called with the text that follows the code. */
export interface CodedErrorConstructor {
  new (message: string): CodedError
  (message: string): CodedError
  readonly prototype: CodedError
}

const kGeneric = Symbol.for('fastify-error-generic')

function defineError (code: string): CodedErrorConstructor {
  const kSpecific = Symbol.for(`fastify-error ${code}`)
  class TopicError extends Error {
    readonly code = code
    readonly statusCode = 500
    override readonly name = 'FastifyError'

    override toString (): string {
      return `${this.name} [${this.code}]: ${this.message}`
    }
  }
  Object.defineProperty(TopicError.prototype, kGeneric, { value: true })
  Object.defineProperty(TopicError.prototype, kSpecific, { value: true })
  // A Proxy gives the call without `new` that @fastify/error allows.
  return new Proxy(TopicError, {
    apply: (Target, _this, args: [string]) => new Target(...args)
  }) as unknown as CodedErrorConstructor
}

/** A pattern that cannot be registered; the message points at the place with a caret. */
export const FST_MQTT_PATTERN = defineError('FST_MQTT_PATTERN')

/** A value that a topic cannot be built from; the message names the parameter. */
export const FST_MQTT_PARAM = defineError('FST_MQTT_PARAM')
