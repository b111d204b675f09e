import { FST_MQTT_CONNECT_REFUSED, type MqttError } from '../errors.ts'
import { connectRefusalName, reasonName } from '../wire/packet.ts'

const NEVER_SOON: ReadonlySet<number> = new Set([
  // 3.1.1: identifier rejected, bad user name or password, not authorized.
  2, 4, 5,
  // MQTT 5: the same, banned, bad authentication method.
  0x85, 0x86, 0x87, 0x8a, 0x8c
])

/** A CONNACK that says no. */
export function connectRefused (code: number): MqttError {
  const name = code < 0x80 ? connectRefusalName(code) : reasonName(code)
  const error = FST_MQTT_CONNECT_REFUSED(`The broker refused the connection: ${name}`) as MqttError
  error.reasonCode = code
  return error
}

/** A DISCONNECT from the broker (MQTT 5 section 3.14). */
export function disconnectedBy (reasonCode: number): MqttError {
  const error = FST_MQTT_CONNECT_REFUSED(`The broker ended the connection: ${reasonName(reasonCode)}`) as MqttError
  error.reasonCode = reasonCode
  return error
}

/** True for what the next attempt will not be told differently: it belongs in the slow lane. */
export function isLastingRefusal (code: number): boolean {
  return NEVER_SOON.has(code)
}

/** True when the broker does not speak the version that was asked for. One of 3.1.1 says so with its own code. */
export function isVersionRefusal (code: number): boolean {
  return code === 1 || code === 0x84
}
