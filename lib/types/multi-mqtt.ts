import type { MqttClient } from 'mqtt'
import type { TopicDefinition, TopicSchema } from '../topics/define.ts'
import type { ProtocolVersion } from '../wire/packet.ts'
import type { ErrorHandler, MqttHooks } from './hooks.ts'
import type { InjectMessage, InjectResult } from './inject.ts'
import type { PublishOptions, PublishResult, RequestOptions } from './publish.ts'
import type { RouteOptions } from './route-options.ts'
import type { Handler, Message, Reply, Route } from './route.ts'
import type { ParamsOf, PayloadOf, SchemaIn, TopicArguments } from './schema.ts'
import type { ConnectionState, Status } from './status.ts'
import type { Granted, SubscribeOptions, SubscriptionStatus } from './subscribe.ts'
import type { WorkerLike } from './workers.ts'

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
