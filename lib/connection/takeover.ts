import { FST_MQTT_CONNECT_REFUSED, type MqttError } from '../errors.ts'

/** A connection that ends so soon after CONNACK, in milliseconds, was taken away rather than lost. */
const SOON = 5_000
/** So many in a row are no accident. */
const LOOP = 3
/** Reason code "Session taken over"; mosquitto before 2.1 sends none and just closes. */
const TAKEN_OVER = 0x8e

/**
 * Two clients with one client id throw each other out for ever (MQTT 5 section 3.1.4). Few brokers say so; this names it.
 * Nothing more: the back-off grows by itself, as no connection holds.
 */
export class TakeoverWatch {
  readonly #clientId: string
  #count = 0

  constructor (clientId: string) {
    this.#clientId = clientId
  }

  /** A connection that was up has ended; returns a better name for the cause when it looks like a loop. */
  ended (uptime: number, cause: Error | undefined): MqttError | undefined {
    const reasonCode = (cause as MqttError | undefined)?.reasonCode
    const quiet = cause === undefined || reasonCode === TAKEN_OVER
    this.#count = quiet && uptime < SOON ? this.#count + 1 : 0
    if (this.#count < LOOP) return undefined
    const error = FST_MQTT_CONNECT_REFUSED(`The broker has ended ${this.#count} connections in a row soon after it accepted them: ` +
      `is another client connected as "${this.#clientId}"? Client ids must be unique`) as MqttError
    if (reasonCode !== undefined) error.reasonCode = reasonCode
    return error
  }
}
