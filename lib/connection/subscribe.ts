import type { IClientSubscribeOptions } from 'mqtt'
import { FST_MQTT_SUBSCRIBE_REFUSED, type MqttError } from '../errors.ts'
import { reasonName } from '../wire/packet.ts'
import type { ConnectInfo } from '../wire/tap.ts'
import type { SubscriptionOptions } from './subscription.ts'

/* What SUBSCRIBE says, and what the broker's answer means. */

/** Refusals that will not change: filter invalid, no shared, identified or wildcard subscriptions (MQTT 5 section 3.9.3). */
const LASTING: ReadonlySet<number> = new Set([0x8f, 0x9e, 0xa1, 0xa2])

/** mqtt.js' options for a SUBSCRIBE. */
export function subscribeOptions (options: SubscriptionOptions, info: ConnectInfo, id: number): IClientSubscribeOptions {
  if (info.version < 5) return { qos: options.qos }
  return {
    qos: options.qos,
    nl: options.noLocal,
    rap: options.retainAsPublished,
    rh: options.retainHandling,
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

export function hangsUp (filter: string): MqttError {
  return FST_MQTT_SUBSCRIBE_REFUSED(`The broker hangs up in answer to the subscription to "${filter}"; is it permitted? ` +
    'It is asked for again later') as MqttError
}

/** True when asking again would only be told the same. */
export function isLasting (refusal: MqttError | undefined): boolean {
  return LASTING.has(refusal?.reasonCode ?? 0)
}
