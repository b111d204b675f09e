import type { FastifyInstance } from 'fastify'
import type { ProtocolVersion, QoS } from '../wire/packet.ts'
import type { PublishPacket, PublishResult } from './publish.ts'
import type { Message } from './route.ts'
import type { Granted } from './subscribe.ts'

/** What the broker said when it accepted the connection (MQTT 5 section 3.2.2.3; before that, what its version allows). */
export interface ConnectionInfo {
  readonly protocolVersion: ProtocolVersion
  /** The broker has kept the session: subscriptions, and messages that came meanwhile. */
  readonly sessionPresent: boolean
  /** How many QoS 1 and 2 publishes it takes at once. */
  readonly receiveMaximum: number
  /** In bytes. */
  readonly maximumPacketSize: number
  readonly maximumQoS: QoS
  readonly retainAvailable: boolean
}

/** The connection is up. */
export type OnConnectHook = (this: FastifyInstance, info: ConnectionInfo) => unknown
/** The connection is gone. `error` is missing when it was the application that ended it. */
export type OnDisconnectHook = (this: FastifyInstance, error: Error | undefined) => unknown
/** The broker has granted a subscription. */
export type OnSubscribeHook = (this: FastifyInstance, granted: Granted) => unknown
/** A filter is not subscribed any more: as the broker saw it. */
export type OnUnsubscribeHook = (this: FastifyInstance, filter: string) => unknown
/** A message has come, and its body has not been looked at. What this throws is the message's failure. */
export type OnMessageHook = (this: FastifyInstance, message: Message) => unknown
/** The message is valid, and its handler is next. What this throws is the message's failure. */
export type PreHandlerHook = (this: FastifyInstance, message: Message) => unknown
/** The handlers have ended well; `result` is what they returned. */
export type OnHandledHook = (this: FastifyInstance, message: Message, result: unknown) => unknown
/** A message has failed for good; the error handler is next. */
export type OnErrorHook = (this: FastifyInstance, error: Error, message: Message) => unknown
/** A publish is about to go into the outbox; it may be changed in place. What this throws rejects it. */
export type OnPublishHook = (this: FastifyInstance, packet: PublishPacket) => unknown
/** A publish was confirmed. */
export type OnPublishedHook = (this: FastifyInstance, packet: PublishPacket, result: PublishResult) => unknown

/** The hooks of `addHook`, by their names. */
export interface MqttHooks {
  onConnect: OnConnectHook
  onDisconnect: OnDisconnectHook
  onSubscribe: OnSubscribeHook
  onUnsubscribe: OnUnsubscribeHook
  onMessage: OnMessageHook
  preHandler: PreHandlerHook
  onHandled: OnHandledHook
  onError: OnErrorHook
  onPublish: OnPublishHook
  onPublished: OnPublishedHook
}

/** What failed while a message was handled goes here. */
export type ErrorHandler = (this: FastifyInstance, error: Error, message: Message) => unknown
