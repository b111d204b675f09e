import type { Connection } from '../connection/connection.ts'
import type { Subscription } from '../connection/subscription.ts'
import type { Subscriptions } from '../connection/subscriptions.ts'
import { FST_MQTT_OPTIONS, FST_MQTT_PROPERTY, reading, unsent } from '../errors.ts'
import { PublishHooks } from '../outbox/publish-hooks.ts'
import type { Publisher } from '../outbox/publisher.ts'
import { isTopicDefinition, takeTopic, type TopicDefinition } from '../topics/define.ts'
import { parseShare, validateFilter } from '../topics/filter.ts'
import type {
  ErrorHandler, Granted, Handler, InjectMessage, InjectResult, Message, MqttHooks, MultiMqtt, PublishOptions, PublishResult, RequestOptions, Route, RouteOptions, Status,
  SubscribeOptions, SubscriptionStatus, WorkerLike
} from '../types/index.ts'
import { decoratedTopics, methodHandler } from './decorators.ts'
import { DefinitionSchemas } from './definition-schemas.ts'
import type { HookName } from './hooks.ts'
import type { NotFoundHandlers } from './not-found.ts'
import type { Registry } from './registry.ts'
import { isAbsolute, subscriptionOptions, checkSubscribeOptions } from './route-options.ts'
import type { Scope } from './scope.ts'

/** What all scopes of one connection share. */
export interface Parts {
  readonly connection: Connection
  readonly registry: Registry
  readonly subscriptions: Subscriptions
  readonly publisher: Publisher
  readonly requester: { request (topic: string, payload: unknown, options: RequestOptions | undefined, hooks: PublishHooks): Promise<Message> }
  readonly status: () => Status
  readonly inject: (message: InjectMessage) => Promise<InjectResult>
  readonly attach: (workerOrPool: WorkerLike) => void
  readonly embedded: { address (): { host: string, port: number } | null } | undefined
  readonly notFound: NotFoundHandlers
  /** What `subscribe` asked for, by filter. */
  readonly subscribed: Map<string, Subscription>
}

/** The owner of all that `subscribe` asks for: asking twice for one filter is asking once. */
const SUBSCRIBE = {}

/** What patterns do to the types of these is told by MultiMqtt; here they are the same for every pattern. */
type Generic = 'topic' | 'route' | 'publish' | 'request' | 'topicFor' | 'addHook' | 'setErrorHandler' | 'setNotFoundHandler'

/** `app.mqtt` of one Fastify instance. */
export class Facade implements Omit<MultiMqtt, Generic> {
  readonly #parts: Parts
  readonly #scope: Scope
  readonly #hooks: PublishHooks
  readonly #schemas: DefinitionSchemas

  constructor (parts: Parts, scope: Scope) {
    this.#parts = parts
    this.#scope = scope
    this.#hooks = PublishHooks.of(scope)
    this.#schemas = new DefinitionSchemas(scope.instance, () => parts.registry.isReady)
  }

  get state (): MultiMqtt['state'] { return this.#parts.connection.state }
  get connected (): boolean { return this.#parts.connection.connected }
  get protocolVersion (): MultiMqtt['protocolVersion'] { return this.connected ? this.#parts.connection.version : undefined }
  get prefix (): string { return this.#parts.registry.prefix }
  get client (): MultiMqtt['client'] { return this.#parts.connection.client }
  get embedded (): Parts['embedded'] { return this.#parts.embedded }
  get subscriptions (): SubscriptionStatus[] { return this.#parts.subscriptions.status }

  topic (topic: string | TopicDefinition, options?: RouteOptions | Handler, handler?: Handler): Route {
    if (typeof options === 'function') [options, handler] = [{}, options]
    return this.#add(topic, options ?? {}, handler)
  }

  route (route: RouteOptions & { topic: string | TopicDefinition, handler?: Handler }): Route {
    if (typeof route !== 'object' || route === null) throw FST_MQTT_OPTIONS('route: must be an object with topic and handler')
    const { topic, handler, ...options } = reading(() => ({ ...route }))
    if (topic === undefined) throw FST_MQTT_OPTIONS('topic: a route needs a pattern')
    return this.#add(topic, options, handler)
  }

  controller (instance: object): Route[] {
    if (typeof instance !== 'object' || instance === null) throw FST_MQTT_OPTIONS('controller: must be an object of a class with @topic methods')
    const topics = reading(() => decoratedTopics(instance))
    if (topics.length === 0) throw FST_MQTT_OPTIONS('controller: the object has no method with @topic')
    const routes: Route[] = []
    try {
      for (const { method, topic, options } of topics) {
        routes.push(this.#parts.registry.add(this.#scope, instance, topic, options, methodHandler(method)))
      }
    } catch (error) {
      // All or none.
      for (const route of routes) void route.remove()
      throw error
    }
    return routes
  }

  subscribe (filters: string | readonly string[], options: SubscribeOptions = {}): Promise<Granted[]> {
    const granted = this.#subscribe(filters, options)
    // As with publish: one that nobody awaits ends no process; what was refused shows in the log and in status().
    granted.catch(noop)
    return granted
  }

  async #subscribe (filters: string | readonly string[], given: SubscribeOptions): Promise<Granted[]> {
    const options = reading(() => checkSubscribeOptions(given))
    const absolute = reading(() => this.#absoluteFilters(filters, options.absolute ?? false))
    if (options.noLocal === true && absolute.some(filter => parseShare(filter) !== null)) {
      throw FST_MQTT_OPTIONS('noLocal: a shared subscription must not have it (MQTT 5 section 3.8.3.1)')
    }
    const { subscriptions, subscribed } = this.#parts
    const wanted: Subscription[] = []
    const added: Subscription[] = []
    try {
      for (const filter of absolute) {
        const subscription = subscriptions.acquire(filter, SUBSCRIBE, subscriptionOptions(options))
        wanted.push(subscription)
        if (!subscribed.has(filter)) added.push(subscription)
        subscribed.set(filter, subscription)
      }
    } catch (error) {
      // All or none.
      for (const subscription of added) {
        subscribed.delete(subscription.filter)
        void subscriptions.release(subscription, SUBSCRIBE)
      }
      throw error
    }
    return Promise.all(wanted.map(subscription => subscription.answered()))
  }

  async unsubscribe (filters: string | readonly string[], options?: { absolute?: boolean | undefined }): Promise<void> {
    await this.#unsubscribe(reading(() => this.#absoluteFilters(filters, isAbsolute('unsubscribe', options))))
  }

  async unsubscribeAll (): Promise<void> {
    await this.#unsubscribe([...this.#parts.subscribed.keys()])
  }

  publish (topic: string | TopicDefinition, ...args: unknown[]): Promise<PublishResult> {
    try {
      const name = this.#takeTopic(topic, args)
      return this.#parts.publisher.publish(name, args[0], args[1] as PublishOptions | undefined, this.#hooks)
    } catch (error) {
      return unsent(error)
    }
  }

  request (topic: string | TopicDefinition, ...args: unknown[]): Promise<Message> {
    try {
      const name = this.#takeTopic(topic, args)
      const check = isTopicDefinition(topic) ? this.#schemas.checkReply(topic) : undefined
      const answer = this.#parts.requester.request(name, args[0], args[1] as RequestOptions | undefined, this.#hooks)
      if (check === undefined) return answer
      const checked = answer.then(check)
      // As with the answer itself: one that nobody awaits ends no process.
      checked.catch(noop)
      return checked
    } catch (error) {
      return unsent(error)
    }
  }

  topicFor (name: string | TopicDefinition, params?: object, options?: { absolute?: boolean | undefined }): string {
    return reading(() => {
      if (!isTopicDefinition(name)) return this.#parts.registry.find(name).topicFor(params, options)
      const topic = name.topicFor(params as never)
      return isAbsolute('topicFor', options) ? this.#parts.registry.prefixedTopic(topic) : topic
    })
  }

  filterFor (name: string | TopicDefinition, options?: { absolute?: boolean | undefined }): string {
    return reading(() => {
      const absolute = isAbsolute('filterFor', options)
      if (isTopicDefinition(name)) return absolute ? this.#parts.registry.prefixedFilter(name.filter) : name.filter
      const { definition } = this.#parts.registry.find(name)
      return absolute ? definition.absolutePattern.filter : definition.pattern.filter
    })
  }

  printTopics (): string {
    return this.#parts.registry.print()
  }

  addHook (name: HookName, hook: MqttHooks[HookName]): this {
    this.#scope.hooks.add(name, hook, this.#scope.instance)
    return this
  }

  setErrorHandler (handler: ErrorHandler): this {
    if (typeof handler !== 'function') throw FST_MQTT_OPTIONS('setErrorHandler: the handler must be a function')
    this.#scope.setErrorHandler(handler)
    return this
  }

  setNotFoundHandler (handler: Handler): this {
    if (typeof handler !== 'function') throw FST_MQTT_OPTIONS('setNotFoundHandler: the handler must be a function')
    this.#parts.notFound.set(this.#scope, handler)
    return this
  }

  inject (message: InjectMessage): Promise<InjectResult> {
    return this.#parts.inject(message)
  }

  attach (workerOrPool: WorkerLike): void {
    reading(() => this.#parts.attach(workerOrPool))
  }

  status (): Status {
    return this.#parts.status()
  }

  /** Takes a definition's parameters off the arguments, and leaves its payload as it is to be sent. */
  #takeTopic (topic: string | TopicDefinition, args: unknown[]): string {
    if (!isTopicDefinition(topic)) return topic
    const name = takeTopic(topic, args)
    args[0] = this.#schemas.serialize(topic, args[0])
    return name
  }

  #add (topic: string | TopicDefinition, options: RouteOptions, handler: Handler | undefined): Route {
    return reading(() => this.#parts.registry.add(this.#scope, this.#scope.instance, topic, options, handler))
  }

  #absoluteFilters (filters: string | readonly string[], absolute: boolean): string[] {
    const list = typeof filters === 'string' ? [filters] : filters
    if (!Array.isArray(list)) throw FST_MQTT_PROPERTY('filter must be a string or an array of strings')
    return list.map(filter => {
      validateFilter(filter)
      const whole = absolute ? filter : this.#parts.registry.prefixedFilter(filter)
      // The prefix may have made it too long.
      if (whole !== filter) validateFilter(whole)
      return whole
    })
  }

  async #unsubscribe (absolute: string[]): Promise<void> {
    await Promise.all(absolute.map(async filter => {
      const subscription = this.#parts.subscribed.get(filter)
      if (subscription === undefined) return
      this.#parts.subscribed.delete(filter)
      await this.#parts.subscriptions.release(subscription, SUBSCRIBE)
    }))
  }
}

function noop (): void {}
