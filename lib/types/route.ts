import type { FastifyBaseLogger, FastifyInstance } from 'fastify'
import type { TopicDefinition } from '../topics/define.ts'
import type { QoS, ReceivedProperties } from '../wire/packet.ts'
import type { BodyOf, ParamsOf, SchemaOf, TypeOf } from './schema.ts'
import type { Granted } from './subscribe.ts'

/** A message as a handler gets it. `Pattern` types `params`, and `Schema` the `body`. */
export interface Message<Pattern extends string | TopicDefinition = string, out Schema = SchemaOf<Pattern>> {
  /** The topic without the prefix. */
  readonly topic: string
  /** The topic as it came over the wire. */
  readonly absoluteTopic: string
  /** The values of the pattern's placeholders, on an object without prototype, frozen. */
  readonly params: ParamsOf<Pattern>
  /** What `+` and `#` stood for, in order; `#` gives the rest joined by `/`. */
  readonly wildcards: readonly string[]
  /** The bytes. They stay valid for as long as you keep them; `.buffer` may hold more than this message. */
  readonly payload: Buffer
  /**
   * The payload as JSON when it parses, else as text when it is UTF-8, else the Buffer; or as the route's `parse` says. Made when it is
   * first asked for. With a schema it is valid by the time a handler sees it. JSON is read up to the instance's `bodyLimit`.
   *
   * @throws `FST_MQTT_INVALID_BODY` with `parse: 'json'`, when it is not
   */
  readonly body: BodyOf<Schema>
  /** The payload parsed as JSON. Throws `FST_MQTT_INVALID_BODY`. */
  json<T = unknown>(): T
  /** The payload as text. */
  text(): string
  readonly qos: QoS
  readonly retain: boolean
  /** The broker may have sent this message before. */
  readonly dup: boolean
  /** MQTT 5 properties of the message. */
  readonly properties: ReceivedProperties
  /** The route that matched; undefined in the not-found handler. */
  readonly route: Route | undefined
  /** A child of the instance's logger with route and topic. */
  readonly log: FastifyBaseLogger
  /** When the message came in: milliseconds since the epoch. */
  readonly receivedAt: number
  /** Aborted by `handlerTimeout` and when the application closes. */
  readonly signal: AbortSignal
}

/** A handler of a route's messages. `this` is the Fastify instance that declared the route. */
export type Handler<Pattern extends string | TopicDefinition = string, in out Schema = SchemaOf<Pattern>> =
  (this: FastifyInstance, message: Message<Pattern, Schema>) => Answer<Schema>

/** What a handler may return: where the schema says what a reply is, that, bytes that are encoded already, or nothing. */
export type Answer<Schema> = Schema extends { readonly reply: infer R } ? Returned<TypeOf<R>> | PromiseLike<Returned<TypeOf<R>>> : unknown
type Returned<T> = T | Uint8Array | undefined | void

/** A route: a pattern and its handlers. */
export interface Route<Pattern extends string | TopicDefinition = string, Schema = SchemaOf<Pattern>> {
  readonly name: string | undefined
  /** The pattern as it was declared. */
  readonly pattern: string
  /** The MQTT filter, as the broker sees it. */
  readonly filter: string
  /** Settles with the broker's answer to the subscription; rejects with `FST_MQTT_SUBSCRIBE_REFUSED`. */
  readonly subscribed: Promise<Granted>
  /** What the route was declared with as `config`. */
  readonly config: unknown
  /** Adds a handler, or takes it away with `{ remove: true }`. Handlers run in the order added. */
  onMessage(handler: Handler<Pattern, Schema>, options?: { remove?: boolean | undefined }): this
  /** Builds a topic of this route; see `MultiMqtt.topicFor`. */
  topicFor(params?: ParamsOf<Pattern>, options?: { absolute?: boolean | undefined }): string
  /** Takes the route away, and unsubscribes its filter if no other route needs it. */
  remove(): Promise<void>
}

/** The answer to a request; its `body` is what the definition's reply schema says. In a worker it is not checked. */
export type Reply<D> = Message<string, SchemaOf<D> extends { readonly reply: infer R } ? { readonly payload: R } : unknown>
