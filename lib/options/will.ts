import type { Will } from '../connection/connection.ts'
import { FST_MQTT_OPTIONS } from '../errors.ts'
import type { MqttPluginOptions, WillOptions } from './plugin-options.ts'
import { addPrefix } from '../topics/prefix.ts'
import { topicNameError } from '../topics/topic.ts'
import { copyOf, copyProperties } from '../wire/copy.ts'
import type { PublishProperties } from '../wire/packet.ts'
import { toPayload } from '../wire/payload.ts'
import { encodeProperties } from '../wire/properties.ts'

/** A will, or where to get one before every CONNECT. */
export type ResolvedWill = Will | (() => Promise<Will | undefined>) | undefined

/**
 * A will that is known now fails now, not at every CONNECT.
 *
 * @throws `FST_MQTT_OPTIONS`
 */
export function resolveWill (will: MqttPluginOptions['will'], prefix: string): ResolvedWill {
  if (typeof will !== 'function') return will && buildWill(will, prefix)
  return async () => {
    const wanted = await will()
    return wanted === undefined ? undefined : buildWill(wanted, prefix)
  }
}

/** A will as CONNECT carries it. */
function buildWill (options: WillOptions, prefix: string): Will {
  checkShape(options)
  const { topic, payload, qos = 0, retain = false, properties, absolute = false } = options
  const name = absolute ? topic : addPrefix(prefix, topic)
  const reason = topicNameError(name)
  if (reason !== null) throw FST_MQTT_OPTIONS(`will.topic: ${reason}`)
  // Copies: it leaves with each CONNECT.
  return {
    topic: name,
    payload: copyOf(payloadOf(payload)),
    qos,
    retain,
    ...(properties !== undefined && { properties: copyProperties(properties) })
  }
}

const KNOWN = new Set(['topic', 'payload', 'qos', 'retain', 'properties', 'absolute'])

/** What a function gives is not checked by `register`. */
function checkShape (options: WillOptions): void {
  if (typeof options !== 'object' || options === null) throw FST_MQTT_OPTIONS('will: must be an object with a topic')
  const unknown = Object.keys(options).find(key => !KNOWN.has(key))
  if (unknown !== undefined) throw FST_MQTT_OPTIONS(`will.${unknown}: unknown option`)
  const { topic, qos = 0, retain = false, properties = {} } = options
  if (typeof topic !== 'string') throw FST_MQTT_OPTIONS('will.topic: must be a string')
  if (qos !== 0 && qos !== 1 && qos !== 2) throw FST_MQTT_OPTIONS('will.qos: must be 0, 1 or 2')
  if (typeof retain !== 'boolean') throw FST_MQTT_OPTIONS('will.retain: must be a boolean')
  const { willDelayInterval = 0, ...others } = properties
  if (!Number.isInteger(willDelayInterval) || willDelayInterval < 0 || willDelayInterval > 0xffffffff) {
    throw FST_MQTT_OPTIONS('will.properties.willDelayInterval: must be a whole number of seconds')
  }
  try {
    encodeProperties(others as PublishProperties)
  } catch (cause) {
    throw FST_MQTT_OPTIONS(`will.properties: ${(cause as Error).message}`)
  }
}

function payloadOf (payload: unknown): string | Uint8Array {
  try {
    return toPayload(payload)
  } catch (cause) {
    throw FST_MQTT_OPTIONS(`will.payload: ${(cause as Error).message}`)
  }
}
