import type { Will } from '../connection/connection.ts'
import { FST_MQTT_OPTIONS } from '../errors.ts'
import type { WillOptions } from './plugin-options.ts'
import { addPrefix } from '../topics/prefix.ts'
import { topicNameError } from '../topics/topic.ts'
import { toPayload } from '../wire/payload.ts'

/**
 * A will as CONNECT carries it.
 *
 * @throws `FST_MQTT_OPTIONS`
 */
export function buildWill (options: WillOptions, prefix: string): Will {
  const { topic, payload, qos = 0, retain = false, properties, absolute = false } = options
  const name = absolute ? topic : addPrefix(prefix, topic)
  const reason = topicNameError(name)
  if (reason !== null) throw FST_MQTT_OPTIONS(`will.topic: ${reason}`)
  const bytes = payloadOf(payload)
  return {
    topic: name,
    payload: typeof bytes === 'string' ? Buffer.from(bytes) : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength),
    qos,
    retain,
    ...(properties !== undefined && { properties })
  }
}

function payloadOf (payload: unknown): string | Uint8Array {
  try {
    return toPayload(payload)
  } catch (cause) {
    throw FST_MQTT_OPTIONS(`will.payload: ${(cause as Error).message}`)
  }
}
