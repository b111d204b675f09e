import { channel, tracingChannel } from 'node:diagnostics_channel'
import type { Message, ProtocolVersion, PublishProperties, PublishResult, QoS, ReceivedProperties } from './types/index.ts'
import type { Publish } from './wire/decode.ts'

/*
 * What can be watched by `node:diagnostics_channel`; docs/observability.md has the channels and when they speak. With
 * nobody listening a message costs a look at `hasSubscribers`, and nothing is made.
 */

/** What `fastify-multimqtt.handle` tells: a message on its way through one route, or through the not-found handler. */
export interface HandleEvent {
  /** Of the connection; undefined for the one without. */
  readonly namespace: string | undefined
  readonly message: Message
  /** The route's pattern, undefined where none matched. A label: there are as many as routes, and of topics there is no end. */
  readonly route: string | undefined
  /** The route's name, where it has one. */
  readonly name: string | undefined
  /** How often it was tried, this time included. */
  attempts: number
  /** In `end`: the handling goes on, and `asyncEnd` is its end. */
  async: boolean
  /** What the handlers returned. */
  result: unknown
  /** What they have failed with for good. */
  error: Error | undefined
  /** What an MQTT 5 broker is told: 0, 0x83 failed, 0x99 not valid. Undefined until then, and where closing has interrupted it. */
  reasonCode: number | undefined
}

/** What `fastify-multimqtt.publish` tells: a publish from its call until it has settled. */
export interface PublishEvent {
  /** Of the connection; undefined for the one without. */
  readonly namespace: string | undefined
  /** Who publishes: the thread of the application, or a worker by its thread id. */
  readonly source: 'main' | number
  /** As it will stand in the packet, prefix included. */
  readonly topic: string
  readonly qos: QoS
  readonly retain: boolean
  /** Of the payload. */
  readonly bytes: number
  /** Of the connection, or of the one that is expected. Before 5 there are no properties. */
  readonly protocolVersion: ProtocolVersion
  /**
   * A copy of what was given; what is set here in `start`, or where a store is bound to it, is sent. Undefined for what
   * a worker has encoded.
   */
  readonly properties: PublishProperties & { userProperties: Record<string, string | string[]> } | undefined
  result: PublishResult | undefined
  error: Error | undefined
}

/** What `fastify-multimqtt.receive` tells: the broker has sent a message. */
export interface ReceiveEvent {
  /** Of the connection; undefined for the one without. */
  readonly namespace: string | undefined
  /** As it came over the wire. */
  readonly topic: string
  readonly qos: QoS
  readonly retain: boolean
  readonly dup: boolean
  /** Of the payload. */
  readonly bytes: number
  /** Of one that is too large they are not read. */
  readonly properties: ReceivedProperties
  /**
   * `accepted`: its routes are looked for next. `reply`: the answer to a request. `repeated`: of QoS 2, known already, and
   * not handled again. `dropped`: of QoS 0, the inbox is full. `oversize`: over `maxPayload`, and skipped.
   */
  readonly outcome: 'accepted' | 'reply' | 'repeated' | 'dropped' | 'oversize'
}

/** What `fastify-multimqtt.worker` tells: a worker has handed over what it published in a turn. */
export interface WorkerEvent {
  /** Of the connection; undefined for the one without. */
  readonly namespace: string | undefined
  readonly threadId: number
  /** How many publishes. */
  readonly count: number
  /** Of the whole packets. */
  readonly bytes: number
}

export const handles = tracingChannel<unknown, HandleEvent>('fastify-multimqtt.handle')
export const publishes = tracingChannel<unknown, PublishEvent>('fastify-multimqtt.publish')
export const receives = channel('fastify-multimqtt.receive')
export const handOvers = channel('fastify-multimqtt.worker')

const NO_PROPERTIES: ReceivedProperties = Object.freeze({})

/** A message has come. */
export function tellReceived (namespace: string | undefined, publish: Publish, outcome: ReceiveEvent['outcome'], bytes = publish.payload.length): void {
  if (!receives.hasSubscribers) return
  const { topic, qos, retain, dup, properties = NO_PROPERTIES } = publish
  const event: ReceiveEvent = { namespace, topic, qos, retain, dup, bytes, properties, outcome }
  receives.publish(event)
}

/** A worker has handed over publishes. */
export function tellHandedOver (event: WorkerEvent): void {
  handOvers.publish(event)
}

/** Runs the handling of a message, which never throws and never rejects, in the stores that are bound to the channel. */
export function traceHandling (event: HandleEvent, run: () => Promise<void> | undefined): Promise<void> | undefined {
  return handles.start.runStores(event, () => {
    const running = run()
    event.async = running !== undefined
    handles.end.publish(event)
    return running?.then(() => tellSettled(handles, event))
  })
}

/** A message has failed for good. Whoever else is told of it is told later. */
export function tellFailed (event: HandleEvent, error: Error): void {
  event.error = error
  handles.error.publish(event)
}

/** Runs a publish, which never throws, in the stores that are bound to the channel. */
export function tracePublish (event: PublishEvent, publish: () => Promise<PublishResult>): Promise<PublishResult> {
  return publishes.start.runStores(event, () => {
    const promise = publish()
    publishes.end.publish(event)
    promise.then(result => tellPublished(event, null, result), (error: Error) => tellPublished(event, error))
    return promise
  })
}

/** A publish has settled. */
export function tellPublished (event: PublishEvent, error: Error | null, result?: PublishResult): void {
  if (error !== null) {
    event.error = error
    publishes.error.publish(event)
  } else event.result = result
  tellSettled(publishes, event)
}

function tellSettled<E> ({ asyncStart, asyncEnd }: { asyncStart: { publish (event: E): void }, asyncEnd: { publish (event: E): void } }, event: E): void {
  asyncStart.publish(event)
  asyncEnd.publish(event)
}
