import type { IClientSubscribeOptions } from 'mqtt'
import { FST_MQTT_SUBSCRIBE_REFUSED, type MqttError } from '../errors.ts'
import { quote, reasonName, varintLength } from '../wire/packet.ts'
import type { ConnectInfo } from '../wire/tap.ts'
import type { SubscriptionOptions } from './subscription.ts'

/* What SUBSCRIBE says, and what the broker's answer means. */

const PACKET_TOO_LARGE = 0x95

/**
 * Refusals that will not change on a connection: filter invalid, no shared, identified or wildcard subscriptions
 * (MQTT 5 section 3.9.3), and our own of what is too large for it.
 */
const LASTING: ReadonlySet<number> = new Set([0x8f, PACKET_TOO_LARGE, 0x9e, 0xa1, 0xa2])

/**
 * mqtt.js' options for a SUBSCRIBE. A `renewal` brings no retained messages again: Retain Handling 1 sends them only where
 * the broker does not have the subscription.
 */
export function subscribeOptions (options: SubscriptionOptions, info: ConnectInfo, id: number, renewal: boolean): IClientSubscribeOptions {
  if (info.version < 5) return { qos: options.qos }
  return {
    qos: options.qos,
    nl: options.noLocal,
    rap: options.retainAsPublished,
    rh: renewal && options.retainHandling === 0 ? 1 : options.retainHandling,
    ...(info.subscriptionIdentifiers && { properties: { subscriptionIdentifier: id } })
  } as IClientSubscribeOptions
}

/** What is asked for that 3.1.1 cannot say. */
export function unsendable ({ noLocal, retainAsPublished, retainHandling }: SubscriptionOptions): string[] {
  return [
    ...(noLocal ? ['noLocal'] : []),
    ...(retainAsPublished ? ['retainAsPublished'] : []),
    ...(retainHandling !== 0 ? ['retainHandling'] : [])
  ]
}

/** The broker's no, out of what mqtt.js makes of it; undefined when there was no answer at all. */
export function refused (filter: string, cause: Error & { packet?: { granted?: unknown } }): MqttError | undefined {
  const code = (cause.packet?.granted as number[] | undefined)?.[0]
  if (code === undefined || code < 0x80) return undefined
  const error = FST_MQTT_SUBSCRIBE_REFUSED(`The broker refused the subscription to "${filter}": ${reasonName(code)}`) as MqttError
  error.reasonCode = code
  return error
}

/** The refusal of a SUBSCRIBE that is over the broker's Maximum Packet Size: it would end the connection. */
export function tooLarge (filter: string, info: ConnectInfo, id: number): MqttError | undefined {
  const size = subscribeSize(filter, info, id)
  if (size <= info.maximumPacketSize) return undefined
  const error = FST_MQTT_SUBSCRIBE_REFUSED(`The subscription to ${quote(filter)} was not sent: it takes ${size} bytes, ` +
    `and the broker takes ${info.maximumPacketSize} at most`) as MqttError
  error.reasonCode = PACKET_TOO_LARGE
  return error
}

/** Bytes of a SUBSCRIBE of MQTT 5 for one filter (section 3.8). 3.1.1 knows no limit. */
function subscribeSize (filter: string, info: ConnectInfo, id: number): number {
  const properties = info.subscriptionIdentifiers ? 1 + varintLength(id) : 0
  // Packet identifier, properties with their length, filter with its length, options.
  const length = 2 + 1 + properties + 2 + Buffer.byteLength(filter) + 1
  return 1 + varintLength(length) + length
}

export function hangsUp (filter: string): MqttError {
  return FST_MQTT_SUBSCRIBE_REFUSED(`The broker hangs up in answer to the subscription to "${filter}"; is it permitted? ` +
    'It is asked for again later') as MqttError
}

/** True when asking again would only be told the same. */
export function isLasting (refusal: MqttError | undefined): boolean {
  return LASTING.has(refusal?.reasonCode ?? 0)
}
