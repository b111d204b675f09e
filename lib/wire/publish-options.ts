import { FST_MQTT_PROPERTY } from '../errors.ts'
import type { PublishOptions } from '../types/index.ts'

const KNOWN = new Set(['qos', 'retain', 'absolute', 'properties', 'timeout', 'signal'])

/** The options of a publish, checked, each read once. */
export type CheckedPublishOptions = { [K in keyof Required<PublishOptions>]: PublishOptions[K] | undefined }

/**
 * Checks the options of a publish, but for `properties`, which `encodeProperties` checks. The same on the main thread
 * and in workers. What comes back is a copy: a getter could give another value the next time, and a QoS of 3 ends the
 * connection of everybody.
 *
 * @throws `FST_MQTT_PROPERTY` naming the option
 */
export function checkPublishOptions (options: PublishOptions): CheckedPublishOptions {
  if (typeof options !== 'object' || options === null) throw FST_MQTT_PROPERTY('options must be an object')
  for (const key in options) {
    if (!KNOWN.has(key)) throw FST_MQTT_PROPERTY(`${key}: unknown option of publish (known: ${[...KNOWN].join(', ')})`)
  }
  const { qos, retain, absolute, properties, timeout, signal } = options
  if (qos !== undefined && qos !== 0 && qos !== 1 && qos !== 2) throw FST_MQTT_PROPERTY('qos must be 0, 1 or 2')
  if (retain !== undefined && typeof retain !== 'boolean') throw FST_MQTT_PROPERTY('retain must be a boolean')
  if (absolute !== undefined && typeof absolute !== 'boolean') throw FST_MQTT_PROPERTY('absolute must be a boolean')
  if (timeout !== undefined && !(typeof timeout === 'number' && timeout >= 0)) throw FST_MQTT_PROPERTY('timeout must be a number of milliseconds, 0 or more')
  if (signal !== undefined && !(signal instanceof AbortSignal)) throw FST_MQTT_PROPERTY('signal must be an AbortSignal')
  return { qos, retain, absolute, properties, timeout, signal }
}
