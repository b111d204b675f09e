import type { QoS } from '../wire/packet.ts'

/** What a subscription was granted by the broker. */
export interface Granted {
  /** The filter as the broker sees it: prefix and `$share` included. */
  readonly filter: string
  /** The maximum QoS that the broker granted; it may be lower than what was asked for. */
  readonly qos: QoS
}

/** One filter that this application asked the broker for. */
export interface SubscriptionStatus {
  /** The filter as the broker sees it: prefix and `$share` included. */
  readonly filter: string
  /** The QoS asked for. */
  readonly qos: QoS
  /** The QoS granted, once there is an answer. */
  readonly granted?: QoS
  readonly status: 'pending' | 'active' | 'refused'
  /** Why the broker refused. */
  readonly error?: { readonly code: string, readonly message: string }
}

/** Options of `subscribe`. */
export interface SubscribeOptions {
  /** The highest QoS at which messages are to come. Default 0. */
  qos?: QoS | undefined
  /** MQTT 5: do not send back what this application published itself. Default false. */
  noLocal?: boolean | undefined
  /** MQTT 5: keep the retain flag as it was published. Default false. */
  retainAsPublished?: boolean | undefined
  /** MQTT 5: 0 send retained messages, 1 only for a new subscription, 2 never. Default 0. */
  retainHandling?: 0 | 1 | 2 | undefined
  /** The filter is absolute: the prefix is not put before it. Default false. */
  absolute?: boolean | undefined
}
