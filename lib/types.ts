import type { FastifyBaseLogger, FastifyInstance } from 'fastify'
import type { MqttClient } from 'mqtt'
import type { Static, TSchema } from 'typebox'
import type { TopicDefinition, TopicSchema } from './topics/define.ts'
import type { Params } from './topics/params.ts'
import type { ProtocolVersion, PublishProperties, QoS, ReceivedProperties } from './wire/packet.ts'

/*
 * What users see of `app.mqtt`. Everything here is exported by index.ts and documented in docs/.
 */

export type { ProtocolVersion, PublishProperties, QoS, ReceivedProperties }

/** Where the connection is. `refused`: the broker said no, and is asked again slowly. */
export type ConnectionState =
  'idle' | 'connecting' | 'connected' | 'reconnecting' | 'refused' | 'closing' | 'closed'

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

/** Options of a route. */
export interface RouteOptions<S extends TopicSchema = TopicSchema> extends SubscribeOptions {
  /** Unique per connection; `topicFor` and `filterFor` find the route by it. Default: the handler's name, as long as one route alone has it. */
  name?: string | undefined
  /** Shared-subscription group (`$share/<group>/...`), or false for none. Default: the plugin's `group`. */
  group?: string | false | undefined
  /** When a QoS 1 or 2 message is acknowledged: when every handler has settled, or on receipt. Default `'handled'`. */
  ack?: 'handled' | 'received' | undefined
  /** How many of this route's handlers may run at once. Default: the plugin's `concurrency`. */
  concurrency?: number | undefined
  /** `'topic'`: messages of one topic one after another; `'none'`: no order. Default: the plugin's `order`. */
  order?: 'topic' | 'none' | undefined
  /** Milliseconds that hooks, schema and handlers may take together, in each attempt; 0 is no limit. Default: the plugin's `handlerTimeout`. */
  handlerTimeout?: number | undefined
  /** How `message.body` is made of the payload; see `Message.body`. Default `'auto'`. */
  parse?: ParseMode | undefined
  /**
   * JSON schemas, or whatever the instance's validator and serializer compilers take. `payload`: what a body must be, or the handler
   * is not called. `reply`: how what the handler returns is serialised.
   */
  schema?: S | undefined
  /** Tries again when the handler fails. A body that is not valid is not tried again. Default: none. */
  retry?: RetryOptions | undefined
  /** A topic that gets the messages whose handler has failed for good. It is relative to the prefix, unless the route is `absolute`. */
  deadLetter?: string | undefined
  /** Hooks of this route alone, behind those of its scope. */
  preHandler?: PreHandlerHook | readonly PreHandlerHook[] | undefined
  /** Hooks of this route alone, behind those of its scope. */
  onError?: OnErrorHook | readonly OnErrorHook[] | undefined
  /** Anything; found again as `message.route.config`. */
  config?: unknown
}

/** How a body is made of a payload: JSON, text, bytes as they are, or the first of these that fits. */
export type ParseMode = 'auto' | 'json' | 'text' | 'buffer'

/** How often a failed handler is called again, and when. */
export interface RetryOptions {
  /** How many times more, 1 or more. */
  attempts: number
  /** Milliseconds until the first of these. Default 100. */
  delay?: number | undefined
  /** Each wait is so many times as long as the one before. Default 2. */
  factor?: number | undefined
}

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

/** The type of a pattern's or definition's parameters. */
export type ParamsOf<Pattern> =
  Pattern extends TopicDefinition<infer P> ? P : Pattern extends string ? Params<Pattern> : never

/** The schemas of a definition. */
export type SchemaOf<Pattern> = Pattern extends TopicDefinition<any, infer S> ? S : unknown

/** The type that a schema describes: of TypeBox, and of what follows Standard Schema, as zod and valibot do. */
export type TypeOf<Schema> =
  Schema extends { readonly '~standard': { readonly types?: { readonly output: infer T } | undefined } } ? T
    : Schema extends { readonly static: infer T } ? T
      : Schema extends TSchema ? Static<Schema> : unknown

/** The type of a body, by the schema of the payload. */
export type BodyOf<Schema> = Schema extends { readonly payload: infer P } ? TypeOf<P> : unknown

/** A handler of a route's messages. `this` is the Fastify instance that declared the route. */
export type Handler<Pattern extends string | TopicDefinition = string, in out Schema = SchemaOf<Pattern>> =
  (this: FastifyInstance, message: Message<Pattern, Schema>) => Answer<Schema>

/** What a handler may return: where the schema says what a reply is, that, bytes that are encoded already, or nothing. */
export type Answer<Schema> = Schema extends { readonly reply: infer R } ? Returned<TypeOf<R>> | PromiseLike<Returned<TypeOf<R>>> : unknown
type Returned<T> = T | Uint8Array | undefined | void

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

/** The schemas of a definition; those of a pattern are yet to be given. */
export type SchemaIn<Pattern> = Pattern extends TopicDefinition<any, infer S extends TopicSchema> ? S : TopicSchema

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

/** Everything about a connection at one moment, as plain JSON. */
export interface Status {
  readonly state: ConnectionState
  readonly connected: boolean
  /** Since when the state holds: milliseconds since the epoch. */
  readonly since: number
  readonly protocolVersion?: ProtocolVersion
  readonly lastError?: { readonly code: string, readonly message: string }
  /** Publishes that have not settled. `bytes` of them as encoded, whole packets. */
  readonly outbox: { readonly messages: number, readonly bytes: number, readonly inflight: number }
  /** Messages that have not been handled. `bytes` of them as encoded, whole packets. `running` counts one for each route. */
  readonly inbox: { readonly messages: number, readonly bytes: number, readonly running: number }
  /** How many worker threads are attached. */
  readonly workers: number
  readonly subscriptions: readonly SubscriptionStatus[]
  readonly counters: Counters
}

/** Counters since the start. `dropped` only ever counts QoS 0. */
export interface Counters {
  published: number
  refused: number
  received: number
  handled: number
  failed: number
  unmatched: number
  dropped: number
  oversize: number
  reconnects: number
}

/** What is published to a definition's topics: what its payload schema says, or bytes that are encoded already. */
export type PayloadOf<D> = SchemaOf<D> extends { readonly payload: infer P } ? TypeOf<P> | Uint8Array : unknown

/** The answer to a request; its `body` is what the definition's reply schema says. In a worker it is not checked. */
export type Reply<D> = Message<string, SchemaOf<D> extends { readonly reply: infer R } ? { readonly payload: R } : unknown>

/** What a definition's placeholders need, before the payload. */
export type TopicArguments<D> = [keyof ParamsOf<D>] extends [never] ? [] : [params: ParamsOf<D>]

/** `app.mqtt`. */
export interface MultiMqtt {
  readonly state: ConnectionState
  readonly connected: boolean
  /** Once connected. */
  readonly protocolVersion: ProtocolVersion | undefined
  readonly prefix: string
  /** The mqtt.js client, the escape hatch. Routes and `publish` do not pass through it. */
  readonly client: MqttClient

  /**
   * Declares a route: subscribes to the pattern's filter and runs the handler for each message that matches.
   *
   * @throws `FST_MQTT_PATTERN`, `FST_MQTT_ROUTE_DUPLICATE`, `FST_MQTT_OPTIONS`
   * @example
   * app.mqtt.topic('number/<int:n>', { qos: 1 }, async function (message) {
   *   this.log.info({ n: message.params.n })
   * })
   */
  topic<const P extends string> (pattern: P, handler?: Handler<P>): Route<P>
  topic<const P extends string, const S extends TopicSchema = TopicSchema> (pattern: P, options: RouteOptions<S>, handler?: Handler<P, NoInfer<S>>): Route<P, S>
  topic<D extends TopicDefinition> (definition: D, handler?: Handler<D>): Route<D>
  topic<D extends TopicDefinition, const S extends TopicSchema = SchemaIn<D>> (definition: D, options: RouteOptions<S>, handler?: Handler<D, NoInfer<S>>): Route<D, S>

  /** The same with everything in one object. */
  route<const P extends string | TopicDefinition, const S extends TopicSchema = SchemaIn<P>> (route: RouteOptions<S> & { topic: P, handler?: Handler<P, NoInfer<S>> }): Route<P, S>

  /** Declares the `@topic` methods of an object's class as routes; `this` in them is the object. */
  controller (instance: object): Route[]

  /**
   * Subscribes without a handler: the messages reach the not-found handler.
   * Resolves when the broker has answered, also when that is after a reconnect.
   *
   * @throws `FST_MQTT_PATTERN` a malformed filter, `FST_MQTT_SUBSCRIBE_REFUSED`, `FST_MQTT_CLOSED`
   */
  subscribe (filter: string | readonly string[], options?: SubscribeOptions): Promise<Granted[]>
  /** Takes back what `subscribe` asked for. */
  unsubscribe (filter: string | readonly string[], options?: { absolute?: boolean | undefined }): Promise<void>
  /** Takes back all that `subscribe` asked for; routes stay. */
  unsubscribeAll (): Promise<void>
  /** Every filter that the broker is asked for, of routes and of `subscribe`. */
  readonly subscriptions: SubscriptionStatus[]

  /**
   * Publishes a message. QoS 0 resolves when the bytes are in the socket's hands, QoS 1 at PUBACK, QoS 2 at PUBCOMP.
   * Offline it waits in the outbox. The payload may be text, bytes, a number, a boolean, a bigint, null or undefined
   * (empty); anything else is sent as JSON.
   *
   * Every publish settles. A promise that nobody awaits never ends the process: the failure is counted as `refused`.
   *
   * @throws `FST_MQTT_TOPIC`, `FST_MQTT_PAYLOAD`, `FST_MQTT_PROPERTY`, `FST_MQTT_OUTBOX_FULL`, `FST_MQTT_PUBLISH_REFUSED`,
   * `FST_MQTT_TIMEOUT`, `FST_MQTT_ABORTED`, `FST_MQTT_POISON`, `FST_MQTT_SESSION_LOST`, `FST_MQTT_CLOSED`
   */
  publish (topic: string, payload?: unknown, options?: PublishOptions): Promise<PublishResult>
  publish<D extends TopicDefinition> (definition: D, ...args: [...params: TopicArguments<D>, payload?: PayloadOf<D>, options?: PublishOptions]): Promise<PublishResult>

  /**
   * Publishes a message and resolves with the answer to it: what a handler of it returned, here or in any MQTT 5 client
   * (section 4.10). Answers come over one response topic, `reply/<client id>` under the prefix.
   *
   * @throws `FST_MQTT_TIMEOUT` no answer in time, `FST_MQTT_REPLY_ERROR` the handler failed (`remote` has its code and
   * message), `FST_MQTT_INVALID_BODY` the answer is not what the definition's schema says, `FST_MQTT_NEEDS_V5` the connection speaks 3.1.1,
   * `FST_MQTT_SUBSCRIBE_REFUSED` the broker refuses the response topic, `FST_MQTT_ABORTED` by `signal`, `FST_MQTT_CLOSED` the application
   * closes first, and what `publish` throws. Where there was no answer, the error's `maybeSent` says whether somebody may have got the
   * request all the same
   * @example
   * const answer = await app.mqtt.request('rooms/1/temperature')
   * answer.json()
   */
  request (topic: string, payload?: unknown, options?: RequestOptions): Promise<Message>
  request<D extends TopicDefinition> (definition: D, ...args: [...params: TopicArguments<D>, payload?: PayloadOf<D>, options?: RequestOptions]): Promise<Reply<D>>

  /**
   * Builds a topic of a named route, relative to the prefix unless `absolute`.
   *
   * @throws `FST_MQTT_ROUTE_UNKNOWN`, `FST_MQTT_PARAM`
   * @example app.mqtt.topicFor('number', { n: 42 }) // 'number/42'
   */
  topicFor (name: string, params?: Record<string, unknown>, options?: { absolute?: boolean | undefined }): string
  topicFor<D extends TopicDefinition> (definition: D, params?: ParamsOf<D>, options?: { absolute?: boolean | undefined }): string
  /** The MQTT filter of a named route, for ACLs. */
  filterFor (name: string | TopicDefinition, options?: { absolute?: boolean | undefined }): string
  /** The routes as a tree, as `fastify.printRoutes()`. */
  printTopics (): string

  /**
   * Adds a hook for this scope, and those encapsulated in it. docs/hooks.md draws their order. `this` is the instance whose route it is;
   * hooks of the connection (onConnect, onDisconnect, onSubscribe, onUnsubscribe) run for all, with the instance that added them.
   *
   * @throws `FST_MQTT_OPTIONS`
   * @example
   * app.mqtt.addHook('preHandler', async message => {
   *   if (message.properties.userProperties?.['tenant'] === undefined) throw new Error('whose message is it?')
   * })
   */
  addHook<N extends keyof MqttHooks> (name: N, hook: MqttHooks[N]): this

  /**
   * Handles what fails in this scope and those inside it. The nearest one counts; what it throws goes to the next one out, and behind the
   * outermost to the log. `this` is the instance that set it. Default: logs.
   */
  setErrorHandler (handler: ErrorHandler): this
  /**
   * Handles messages that no route matched. There is one for each `mqttPrefix`, and of two the one set last counts. In a scope without a
   * prefix of its own it is that of the prefix around it, so of the whole application where there is none. Default: logs them at debug.
   */
  setNotFoundHandler (handler: Handler): this

  /**
   * Takes a message through match, parse, validation, hooks and handlers, without broker and network, and says what came of it. For tests,
   * best with `connect: false`: then publishes are only recorded, and resolve with reason code 0; on a live application they are sent as well.
   *
   * @throws `FST_MQTT_TOPIC`, `FST_MQTT_PROPERTY`, `FST_MQTT_PAYLOAD` for what cannot be a message, `FST_MQTT_CLOSED` when the application closes before it
   * is handled
   * @example
   * const { results, published } = await app.mqtt.inject({ topic: 'number/42', payload: { on: true }, qos: 1 })
   */
  inject (message: InjectMessage): Promise<InjectResult>

  /** Lets the workers of a pool, or one worker, publish through this connection. Only needed where discovery cannot work. */
  attach (workerOrPool: WorkerLike): void

  status (): Status
  /** The embedded broker, where there is one. */
  readonly embedded?: { address (): { host: string, port: number } | null } | undefined
}

/** A message for `inject`. */
export interface InjectMessage {
  /** Relative to the prefix, unless `absolute`. */
  readonly topic: string
  /** As for `publish`. */
  readonly payload?: unknown
  /** Default 0. */
  readonly qos?: QoS | undefined
  /** Default false. */
  readonly retain?: boolean | undefined
  /** MQTT 5 properties; with `responseTopic` the message asks for a reply. */
  readonly properties?: PublishProperties | undefined
  /** Default false. */
  readonly absolute?: boolean | undefined
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

/** What became of an injected message. */
export interface InjectResult {
  /** The routes that matched, in the order in which they were declared: their names, or patterns where they have none. */
  readonly matched: readonly string[]
  /** What the handlers of each returned. */
  readonly results: readonly unknown[]
  /** The reply, where the message asked for one. */
  readonly reply: PublishedMessage | undefined
  /** What the first route that failed has failed with. */
  readonly error: (Error & { readonly code?: string }) | undefined
  /** A broker would have been told that it was handled: of QoS 1 and 2. */
  readonly acked: boolean
  /** What an MQTT 5 broker would have been told: 0, 0x83 a handler failed, 0x99 the body is not valid. */
  readonly reasonCode: number
  /** What the handlers published meanwhile. Of pool tasks and other threads it does not know. */
  readonly published: readonly PublishedMessage[]
}

/** What `attach` takes: a Worker, or a pool that emits its workers' messages. */
export interface WorkerLike {
  /** Of a Worker. */
  readonly threadId?: number
  /** A pool's workers, as Piscina and its like have them. */
  readonly threads?: ReadonlyArray<{ readonly threadId: number }>
  on (event: 'message', listener: (message: unknown) => void): unknown
}

/** What `poolHandler` takes: a pool of worker threads with the `run` of Piscina, such as that and tinypool. */
export interface PoolLike {
  run (task: any, options: { name?: string, signal?: AbortSignal, transferList?: ArrayBuffer[] }): Promise<unknown>
  /** The worker threads of now, so that what ended one can be told from what a task threw. */
  readonly threads?: ReadonlyArray<{ on (event: 'error', listener: (error: any) => void): unknown }>
}

/** Options of `poolHandler`. */
export interface PoolHandlerOptions {
  /** What the task's file exports the task as. Default: the pool's own. */
  name?: string | undefined
}

/** What the task of a `poolHandler` is given: a message, as it can cross to another thread. */
export interface PoolTask<Pattern extends string | TopicDefinition = string> {
  /** The topic without the prefix. */
  readonly topic: string
  readonly params: ParamsOf<Pattern>
  /** The bytes, in memory that holds nothing else. */
  readonly payload: Uint8Array
  /** As `message.body`; bytes are the `payload`. */
  readonly body: unknown
  readonly qos: QoS
  readonly retain: boolean
  readonly properties: PublishProperties
}

/** Further connections by their `namespace`; add yours by declaration merging. */

export interface MqttNamespaces {}

declare module 'fastify' {
  interface FastifyInstance {
    mqtt: MultiMqtt & MqttNamespaces
  }

  interface RegisterOptions {
    /**
     * Put before the patterns of the routes that the plugin declares, as `prefix` is before its URLs. It may hold placeholders,
     * which are parameters of each of these routes; nested ones add up.
     */
    mqttPrefix?: string
  }
}
