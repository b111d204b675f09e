import {
  FST_MQTT_CLOSED, FST_MQTT_OUTBOX_FULL, FST_MQTT_PAYLOAD, FST_MQTT_POISON, FST_MQTT_PROPERTY, FST_MQTT_PUBLISH_REFUSED,
  FST_MQTT_SESSION_LOST, FST_MQTT_TIMEOUT, type MqttError
} from '../errors.ts'
import { reasonName } from '../wire/packet.ts'
import type { ConnectInfo } from '../wire/tap.ts'
import type { Delivery } from './delivery.ts'

/* How a publish can fail, in words. */

/** Says whether a byte of it may have left. */
export function withMaybeSent (error: Error, maybeSent: boolean): Error {
  try {
    (error as MqttError).maybeSent = maybeSent
  } catch {
    // What a hook throws may be frozen, or no error at all.
  }
  return error
}

/** What a hook has thrown: with that the publish is rejected, whatever it is. Nothing at all would look like success. */
export function thrownByHook (thrown: unknown): Error {
  return thrown === undefined || thrown === null ? new Error('An onPublish hook has thrown nothing', { cause: thrown }) : thrown as Error
}

/** Why the outbox takes nothing in, where that is not a limit. */
export const CLOSED = 'The application has closed'

/** It was not taken in. */
export function unaccepted (why: string): Error {
  const error = why === CLOSED ? FST_MQTT_CLOSED(CLOSED) : FST_MQTT_OUTBOX_FULL(`${why}; await publishes, or raise the limit`)
  return withMaybeSent(error, false)
}

export function closed (): Error {
  return FST_MQTT_CLOSED('The application has closed before the broker confirmed this publish')
}

export function timedOut (): Error {
  return FST_MQTT_TIMEOUT('The broker did not confirm this publish in time (option timeout, or publishTimeout)')
}

export function heldTooLong (): Error {
  return FST_MQTT_TIMEOUT('The onPublish hooks of this publish did not end in time (option timeout, or publishTimeout)')
}

export function poisonous (): Error {
  return FST_MQTT_POISON('The broker hangs up in answer to this publish; it is not sent again')
}

export function refused (reasonCode: number): Error {
  const error = FST_MQTT_PUBLISH_REFUSED(`The broker refused this publish: ${reasonName(reasonCode)}`) as MqttError
  error.reasonCode = reasonCode
  return error
}

/** The broker had the message and has forgotten it: whether it was delivered, nobody can tell. */
export function sessionLost (reasonCode?: number): Error {
  const said = reasonCode === undefined ? '' : ` (${reasonName(reasonCode)})`
  const error = FST_MQTT_SESSION_LOST(`The broker lost the session between PUBREC and PUBCOMP${said}; publish again if receiving twice does no harm`) as MqttError
  if (reasonCode !== undefined) error.reasonCode = reasonCode
  return error
}

/** What a broker answers by hanging up, held against what it said in CONNACK. */
export function unfit (delivery: Delivery, { maximumPacketSize, maximumQoS, retainAvailable }: ConnectInfo): Error | undefined {
  if (delivery.largest > maximumPacketSize) {
    return FST_MQTT_PAYLOAD(`The packet has ${delivery.largest} bytes, and the broker takes ${maximumPacketSize} at most`)
  }
  if (delivery.qos > maximumQoS) return FST_MQTT_PROPERTY(`qos: the broker takes ${maximumQoS} at most`)
  if (!retainAvailable && delivery.retain) return FST_MQTT_PROPERTY('retain: the broker does not keep retained messages')
  return undefined
}
