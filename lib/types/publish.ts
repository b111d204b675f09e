import type { PublishProperties, QoS } from '../wire/packet.ts'

/** How a publish ended well. */
export interface PublishResult {
  /**
   * The MQTT 5 reason code of the broker's answer: 0 success, 16 nobody is subscribed.
   * Always 0 for QoS 0 and on MQTT 3.1.1.
   */
  readonly reasonCode: number
}

/** Options of `publish`. */
export interface PublishOptions {
  /** 0 at most once, 1 at least once, 2 exactly once. Default 0. */
  qos?: QoS | undefined
  /** Asks the broker to keep the message for later subscribers. Default false. */
  retain?: boolean | undefined
  /** The topic is absolute: the prefix is not put before it. Default false. */
  absolute?: boolean | undefined
  /** MQTT 5 properties (section 3.3.2.3). On 3.1.1 they cannot be sent, and that is warned about once. */
  properties?: PublishProperties | undefined
  /** Milliseconds until an unconfirmed publish is rejected with `FST_MQTT_TIMEOUT`; 0 is never. Default `publishTimeout`. */
  timeout?: number | undefined
  /** Rejects the publish with `FST_MQTT_ABORTED` when aborted. */
  signal?: AbortSignal | undefined
}

/** Options of `request`. */
export interface RequestOptions extends Omit<PublishOptions, 'retain' | 'properties'> {
  /** Milliseconds until the request is rejected with `FST_MQTT_TIMEOUT`; the message expires then, too. 0 is never. Default 5000. */
  timeout?: number | undefined
  /** MQTT 5 properties (section 3.3.2.3); response topic and correlation data are set by the request itself. */
  properties?: Omit<PublishProperties, 'responseTopic' | 'correlationData'> | undefined
}

/** A publish on its way, as hooks see it. What they change is what is sent. */
export interface PublishPacket {
  /** As the broker will see it, prefix included. */
  topic: string
  /** The bytes; anything that `publish` takes may be put in their place. */
  get payload (): Buffer
  set payload (payload: unknown)
  qos: QoS
  retain: boolean
  /** MQTT 5 properties. */
  properties: PublishProperties
}

/** A publish that was made while an injected message was handled. */
export interface PublishedMessage {
  /** Relative to the prefix; absolute where that does not cover it. */
  readonly topic: string
  readonly absoluteTopic: string
  readonly payload: Buffer
  readonly qos: QoS
  readonly retain: boolean
  readonly properties: PublishProperties
}
