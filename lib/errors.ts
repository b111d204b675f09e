import createError, { type FastifyError } from '@fastify/error'
import type { FastifyBaseLogger } from 'fastify'
import { FST_MQTT_PARAM, FST_MQTT_PATTERN, type CodedError } from './topics/errors.ts'

/*
 * Every coded error of the package. docs/errors.md documents each, and a test holds the two and the types together.
 * A message says what to do next; it never carries a payload or a secret.
 */

export { FST_MQTT_PARAM, FST_MQTT_PATTERN }

/** `register` was called with an option that is unknown, of the wrong type, or contradicts another. */
export const FST_MQTT_OPTIONS = createError('FST_MQTT_OPTIONS', '%s', 500)
/** No route has this name, or several have it. */
export const FST_MQTT_ROUTE_UNKNOWN = createError('FST_MQTT_ROUTE_UNKNOWN', '%s', 500)
/** Two routes of one connection were given the same name. */
export const FST_MQTT_ROUTE_DUPLICATE = createError('FST_MQTT_ROUTE_DUPLICATE', '%s', 500)
/** The topic of a publish is not a topic name (MQTT 5 section 4.7). */
export const FST_MQTT_TOPIC = createError('FST_MQTT_TOPIC', '%s', 400)
/** The payload cannot be sent, or one that came in is over `maxPayload`. */
export const FST_MQTT_PAYLOAD = createError('FST_MQTT_PAYLOAD', '%s', 400)
/** An option or MQTT 5 property of a publish, request or subscription is not valid. */
export const FST_MQTT_PROPERTY = createError('FST_MQTT_PROPERTY', '%s', 400)
/** A message's body does not parse or does not fit the route's schema. */
export const FST_MQTT_INVALID_BODY = createError('FST_MQTT_INVALID_BODY', '%s', 400)
/** The outbox is at its limit of messages or bytes; this publish was not taken. */
export const FST_MQTT_OUTBOX_FULL = createError('FST_MQTT_OUTBOX_FULL', '%s', 503)
/** The deadline passed before the broker's answer. */
export const FST_MQTT_TIMEOUT = createError('FST_MQTT_TIMEOUT', '%s', 504)
/** The caller's AbortSignal was aborted. */
export const FST_MQTT_ABORTED = createError('FST_MQTT_ABORTED', '%s', 499)
/** The application is closing or closed. */
export const FST_MQTT_CLOSED = createError('FST_MQTT_CLOSED', '%s', 503)
/** The broker hung up three times in answer to this publish. */
export const FST_MQTT_POISON = createError('FST_MQTT_POISON', '%s', 502)
/** The broker refused a publish; `reasonCode` says why. */
export const FST_MQTT_PUBLISH_REFUSED = createError('FST_MQTT_PUBLISH_REFUSED', '%s', 502)
/** The broker refused a subscription; `reasonCode` says why. */
export const FST_MQTT_SUBSCRIBE_REFUSED = createError('FST_MQTT_SUBSCRIBE_REFUSED', '%s', 502)
/** The broker refused the connection; `reasonCode` says why. */
export const FST_MQTT_CONNECT_REFUSED = createError('FST_MQTT_CONNECT_REFUSED', '%s', 502)
/** The broker lost the session in the middle of a QoS 2 exchange. */
export const FST_MQTT_SESSION_LOST = createError('FST_MQTT_SESSION_LOST', '%s', 502)
/** This needs MQTT 5, and the connection speaks an older version. */
export const FST_MQTT_NEEDS_V5 = createError('FST_MQTT_NEEDS_V5', '%s', 501)
/** The handler that answered a request failed. */
export const FST_MQTT_REPLY_ERROR = createError('FST_MQTT_REPLY_ERROR', '%s', 502)
/** A handler took longer than `handlerTimeout`. */
export const FST_MQTT_HANDLER_TIMEOUT = createError('FST_MQTT_HANDLER_TIMEOUT', '%s', 504)
/** This thread found no plugin to publish through. */
export const FST_MQTT_NO_PLUGIN = createError('FST_MQTT_NO_PLUGIN', '%s', 503)
/** `workers.topics` does not let workers publish to this topic. */
export const FST_MQTT_WORKER_TOPIC = createError('FST_MQTT_WORKER_TOPIC', '%s', 403)
/** The worker that ran a handler died. */
export const FST_MQTT_WORKER_GONE = createError('FST_MQTT_WORKER_GONE', '%s', 502)
/** mosquitto's dynamic-security plugin refused a command. */
export const FST_MQTT_DYNSEC = createError('FST_MQTT_DYNSEC', '%s', 502)
/** The embedded broker could not be started. */
export const FST_MQTT_EMBEDDED = createError('FST_MQTT_EMBEDDED', '%s', 500)

/** Every coded error, by its code. */
export const errors = {
  FST_MQTT_OPTIONS,
  FST_MQTT_PATTERN,
  FST_MQTT_PARAM,
  FST_MQTT_ROUTE_UNKNOWN,
  FST_MQTT_ROUTE_DUPLICATE,
  FST_MQTT_TOPIC,
  FST_MQTT_PAYLOAD,
  FST_MQTT_PROPERTY,
  FST_MQTT_INVALID_BODY,
  FST_MQTT_OUTBOX_FULL,
  FST_MQTT_TIMEOUT,
  FST_MQTT_ABORTED,
  FST_MQTT_CLOSED,
  FST_MQTT_POISON,
  FST_MQTT_PUBLISH_REFUSED,
  FST_MQTT_SUBSCRIBE_REFUSED,
  FST_MQTT_CONNECT_REFUSED,
  FST_MQTT_SESSION_LOST,
  FST_MQTT_NEEDS_V5,
  FST_MQTT_REPLY_ERROR,
  FST_MQTT_HANDLER_TIMEOUT,
  FST_MQTT_NO_PLUGIN,
  FST_MQTT_WORKER_TOPIC,
  FST_MQTT_WORKER_GONE,
  FST_MQTT_DYNSEC,
  FST_MQTT_EMBEDDED
} as const

/** The code of any error that this package throws. */
export type MqttErrorCode = keyof typeof errors

/**
 * An error of this package. Some carry more than a code:
 * `reasonCode` and `reasonName` for what a broker refused, `maybeSent` for a publish that did not succeed.
 */
export interface MqttError extends FastifyError {
  code: MqttErrorCode
  /** The MQTT 5 reason code of a refusal (section 2.4). */
  reasonCode?: number
  /** False only when not a byte of the publish has left. */
  maybeSent?: boolean
  /** With `FST_MQTT_REPLY_ERROR`: what the handler of the request failed with. */
  remote?: { readonly code: string, readonly message: string }
}

/** What the caller's `signal` has ended. */
export function aborted (what: 'publish' | 'request', signal: AbortSignal): MqttError {
  const error = FST_MQTT_ABORTED(`The ${what} was aborted by its signal`) as MqttError
  error.cause = signal.reason
  return error
}

/** A rejected promise that ends no process when nobody awaits it; whoever does still sees the error. */
export function rejected (error: Error): Promise<never> {
  const promise = Promise.reject(error)
  promise.catch(() => {})
  return promise
}

/**
 * The same for a publish of which not a byte has left. What is no error of ours was thrown by the caller's own code: a getter,
 * a proxy.
 */
export function unsent (thrown: unknown): Promise<never> {
  const error = isOurs(thrown) ? thrown : FST_MQTT_PROPERTY('What was given cannot be read: it throws') as MqttError
  if (error !== thrown) error.cause = thrown
  error.maybeSent = false
  return rejected(error)
}

/**
 * Runs what looks at a caller's objects. Whatever is thrown there that is no error of ours, by a getter or a Proxy, comes out as one.
 *
 * @throws `FST_MQTT_OPTIONS`
 */
export function reading<T> (read: () => T): T {
  try {
    return read()
  } catch (thrown) {
    if (isOurs(thrown)) throw thrown
    const error = FST_MQTT_OPTIONS('What was given cannot be read: it throws')
    error.cause = thrown
    throw error
  }
}

/** Logs a failure, whatever was thrown: a logger looks at it, and that may throw as well. */
export function logFailure (log: Pick<FastifyBaseLogger, 'error' | 'warn'>, thrown: unknown, text: string, level: 'error' | 'warn' = 'error'): void {
  try {
    log[level]({ err: thrown }, text)
  } catch {
    log[level](text)
  }
}

function isOurs (thrown: unknown): thrown is MqttError {
  try {
    return Object.hasOwn(errors, (thrown as MqttError).code)
  } catch {
    return false
  }
}

export type { CodedError }
