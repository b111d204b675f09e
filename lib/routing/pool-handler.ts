import { FST_MQTT_OPTIONS, FST_MQTT_WORKER_GONE } from '../errors.ts'
import type { Message, PoolHandlerOptions, PoolLike, PoolTask, PublishProperties, ReceivedProperties } from '../types/index.ts'
import { diedOf, watchThreads } from './pool-deaths.ts'
import { MqttRoute } from './route.ts'
import { toError } from './thenable.ts'

/**
 * A handler that runs in a pool of worker threads: Piscina, tinypool, or one that has their `run`. What the task returns
 * is what the handler returns, and the message is acknowledged when the task has ended.
 *
 * @throws `FST_MQTT_OPTIONS`
 * @example
 * app.mqtt.topic('image/<int:id>', { qos: 1, handlerTimeout: 10_000 }, poolHandler(pool, { name: 'resize' }))
 */
export function poolHandler (pool: PoolLike, options: PoolHandlerOptions = {}): (message: Message) => Promise<any> {
  const name = validate(pool, options)
  // Without a name: a route goes by that of its handler, and this one's is everybody's.
  return async message => {
    const task = toTask(message)
    const { signal, forget } = killSignal(message.route, message.signal)
    try {
      const running = pool.run(task, {
        ...(name !== undefined && { name }), ...(signal !== undefined && { signal }), transferList: [task.payload.buffer]
      })
      watchThreads(pool)
      return await running
    } catch (error) {
      throw diedOf(error) ? gone(message, error) : toError(error)
    } finally {
      forget()
      // There may be a new one in place of one that died.
      watchThreads(pool)
    }
  }
}

function validate (pool: PoolLike, options: PoolHandlerOptions): string | undefined {
  if (typeof (pool as Partial<PoolLike> | null | undefined)?.run !== 'function') {
    throw FST_MQTT_OPTIONS('poolHandler: give it a pool with a method run(task, options), as Piscina and tinypool are')
  }
  if (typeof options !== 'object' || options === null || Array.isArray(options)) {
    throw FST_MQTT_OPTIONS('poolHandler: the options must be an object')
  }
  const unknown = Object.keys(options).find(key => key !== 'name')
  if (unknown !== undefined) throw FST_MQTT_OPTIONS(`${unknown}: unknown option of poolHandler (known: name)`)
  const { name } = options
  if (name !== undefined && (typeof name !== 'string' || name === '')) {
    throw FST_MQTT_OPTIONS('name must be a string that is not empty: what the task\'s file exports it as')
  }
  return name
}

/**
 * Bytes are copied once, into memory of exactly their size: the message stays as it is, for its other handlers, and a
 * view on a larger read of the socket would take all of that along.
 */
function toTask (message: Message): PoolTask & { payload: Uint8Array<ArrayBuffer> } {
  const { topic, params, body, qos, retain, properties } = message
  const payload = new Uint8Array(message.payload)
  return {
    topic, params: exactParams(params), payload, body: body === message.payload ? payload : exact(body), qos, retain, properties: toProperties(properties)
  }
}

function toProperties (properties: ReceivedProperties): PublishProperties {
  const { correlationData } = properties
  return correlationData === undefined ? properties : { ...properties, correlationData: new Uint8Array(correlationData) }
}

/** What a converter has made may be a view on memory that holds other things, too. */
function exactParams (params: Message['params']): Message['params'] {
  if (!Object.values(params).some(value => value instanceof Uint8Array)) return params
  return Object.fromEntries(Object.entries(params).map(([name, value]) => [name, exact(value)])) as Message['params']
}

function exact (value: unknown): unknown {
  return value instanceof Uint8Array ? new Uint8Array(value) : value
}

/**
 * A pool ends a thread to abort its task. A task that took too long deserves that. When the application closes, handlers
 * may run to their end, as long as `closeTimeout` lasts, and this is one of them.
 *
 * @param signal asked for in any case: of a message that did so, what the pool's end cuts off while the application closes
 * stays unacknowledged, and does not count as a failure
 */
function killSignal (route: Message['route'], signal: AbortSignal): { signal: AbortSignal | undefined, forget: () => void } {
  // A pool runs what can be aborted alone on its thread, and Piscina does not count it against `maxQueue`.
  if (route instanceof MqttRoute && route.definition.handlerTimeout === 0) return { signal: undefined, forget: () => {} }
  const controller = new AbortController()
  const onAbort = (): void => {
    if ((signal.reason as { code?: unknown } | undefined)?.code !== 'FST_MQTT_CLOSED') controller.abort(signal.reason)
  }
  if (signal.aborted) onAbort()
  else signal.addEventListener('abort', onAbort, { once: true })
  return { signal: controller.signal, forget: () => { signal.removeEventListener('abort', onAbort) } }
}

function gone (message: Message, cause: unknown): Error {
  const error = FST_MQTT_WORKER_GONE(`The worker thread that ran the handler of "${message.route?.pattern ?? message.topic}" ended before it was done`)
  error.cause = cause
  return error
}
