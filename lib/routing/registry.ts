import type { Subscription, SubscriptionOptions } from '../connection/subscription.ts'
import { FST_MQTT_OPTIONS, FST_MQTT_ROUTE_DUPLICATE, FST_MQTT_ROUTE_UNKNOWN } from '../errors.ts'
import { Track } from '../inbox/scheduler.ts'
import type { Converter } from '../topics/converters.ts'
import type { TopicDefinition } from '../topics/define.ts'
import { validateFilter } from '../topics/filter.ts'
import { FST_MQTT_PARAM } from '../topics/errors.ts'
import { parsePattern } from '../topics/pattern.ts'
import { addPrefix, withPrefix } from '../topics/prefix.ts'
import { overflow } from '../topics/text.ts'
import { Router, type Match } from '../topics/router.ts'
import type { Handler, RouteOptions } from '../types/index.ts'
import { Lifecycle } from './lifecycle.ts'
import { nearest } from './nearest.ts'
import { Retry } from './retry.ts'
import { MqttRoute, type RouteDefinition } from './route.ts'
import { subscriptionOptions, checkRouteOptions } from './route-options.ts'
import { compileBody, compileJson } from './schema.ts'
import type { Scope } from './scope.ts'

/** What the registry needs of the ledger of subscriptions. */
export interface Ledger {
  acquire (filter: string, owner: object, options: SubscriptionOptions): Subscription
  release (subscription: Subscription, owner: object): Promise<void>
}

export interface RegistryOptions {
  /** Normalized: no slash at its ends. */
  prefix: string
  converters: Readonly<Record<string, Converter>> | undefined
  group: string | undefined
  concurrency: number
  order: 'topic' | 'none'
  handlerTimeout: number
  ledger: Ledger
}

/** All routes of one connection: by topic, by name. */
export class Registry {
  readonly prefix: string
  readonly #options: RegistryOptions
  readonly #router = new Router<MqttRoute>()
  readonly #named = new Map<string, MqttRoute>()
  /** By the handler's name, which counts only as long as one route alone has it. */
  readonly #handlerNames = new Map<string, Set<MqttRoute>>()
  /** Compiles schemas: at once when the application is ready, till then later, since compilers and shared schemas may come after routes. */
  #uncompiled: Map<MqttRoute, () => void> | undefined = new Map()
  /** Called when a name has come or gone. */
  onNames: () => void = () => {}

  constructor (options: RegistryOptions) {
    this.prefix = options.prefix
    this.#options = options
  }

  /** Declares a route. `context` is what `this` will be in its handlers. */
  add (scope: Scope, context: object, topic: string | TopicDefinition, given: RouteOptions, handler: Handler | undefined): MqttRoute {
    const options = checkRouteOptions(given)
    if (handler !== undefined && typeof handler !== 'function') throw FST_MQTT_OPTIONS('The handler must be a function')
    const definition = this.#define(scope, context, topic, options)
    const { name } = definition
    if (name !== undefined && this.#named.has(name)) {
      throw FST_MQTT_ROUTE_DUPLICATE(`The route name "${name}" is taken by "${this.#named.get(name)!.pattern}"; names are unique per connection`)
    }
    if (this.isReady) this.#compile(definition)
    const route = new MqttRoute(definition, {
      prefixed: topic => this.prefixedTopic(topic),
      nameOf: own => this.#nameOf(own),
      remove: own => this.#remove(own)
    }, own => this.#options.ledger.acquire(definition.filter, own, subscriptionOptions(options)))
    if (handler !== undefined) route.onMessage(handler)
    this.#router.add(definition.absolutePattern, route)
    this.#uncompiled?.set(route, () => this.#compile(definition))
    if (name !== undefined) this.#named.set(name, route)
    else if (handler !== undefined && handler.name !== '') this.#nameByHandler(handler.name, route)
    this.onNames()
    return route
  }

  get isReady (): boolean {
    return this.#uncompiled === undefined
  }

  /** The application is ready: no compiler and no shared schema comes any more. */
  compile (): void {
    const uncompiled = this.#uncompiled
    this.#uncompiled = undefined
    for (const compile of uncompiled?.values() ?? []) compile()
  }

  /** Every route whose pattern matches, in order of registration. */
  match (absoluteTopic: string): ReadonlyArray<Match<MqttRoute>> {
    return this.#router.match(absoluteTopic)
  }

  /** @throws `FST_MQTT_ROUTE_UNKNOWN` */
  find (name: string): MqttRoute {
    if (typeof name !== 'string') throw FST_MQTT_ROUTE_UNKNOWN(`A route's name is a string, or the topic one of defineTopic(), not ${name === null ? 'null' : typeof name}`)
    const named = this.#named.get(name)
    if (named !== undefined) return named
    const candidates = this.#handlerNames.get(name)
    if (candidates?.size === 1) return [...candidates][0]!
    if (candidates !== undefined && candidates.size > 1) {
      throw FST_MQTT_ROUTE_UNKNOWN(`Several routes have a handler called "${name}"; give the one that is meant the option "name"`)
    }
    const known = [...this.#named.keys(), ...this.#handlerNames.keys()]
    const similar = nearest(name, known)
    const hint = similar.length > 0 ? `did you mean ${similar.map(s => `"${s}"`).join(', ')}?` : `known: ${known.length > 0 ? known.slice(0, 10).join(', ') : 'none'}`
    throw FST_MQTT_ROUTE_UNKNOWN(`No route is called "${name}"; ${hint}`)
  }

  /** The routes that have a name. */
  named (): Array<[name: string, route: MqttRoute]> {
    const byHandler = [...this.#handlerNames].filter(([name, routes]) => routes.size === 1 && !this.#named.has(name))
    return [...this.#named, ...byHandler.map(([name, routes]): [string, MqttRoute] => [name, [...routes][0]!])]
  }

  /** The routes as a tree. */
  print (): string {
    return this.#router.print(route => route.name ?? '')
  }

  #define (scope: Scope, context: object, topic: string | TopicDefinition, options: RouteOptions): RouteDefinition {
    const { converters, concurrency, order, handlerTimeout } = this.#options
    const isDefinition = typeof topic === 'object' && topic !== null
    const given = isDefinition ? topic.pattern : topic
    const own = !isDefinition ? undefined : topic.converters as Readonly<Record<string, Converter>> | undefined
    const absolute = options.absolute ?? false
    const declared = absolute ? given : below(scope.mqttPrefix, given)
    const pattern = parsePattern(declared, own === undefined ? converters : { ...converters, ...own })
    const absolutePattern = absolute ? pattern : withPrefix(pattern, this.prefix)
    const group = options.group ?? this.#options.group ?? false
    const filter = group === false ? absolutePattern.filter : `$share/${group}/${absolutePattern.filter}`
    if (group !== false) validateFilter(filter)
    if (group !== false && options.noLocal === true) throw FST_MQTT_OPTIONS('noLocal: a shared subscription (option group) must not have it (MQTT 5 section 3.8.3.1)')
    const name = options.name ?? (isDefinition ? topic.name : undefined)
    const lifecycle = new Lifecycle(scope, { preHandler: asList(options.preHandler), onError: asList(options.onError) })
    const schema = options.schema ?? (isDefinition ? topic.schema : undefined)
    return {
      lifecycle,
      schema,
      scope,
      context,
      name,
      declared,
      pattern,
      absolutePattern,
      absolute,
      portable: pattern.levels.every(level => !('codec' in level) || level.codec.source === undefined),
      filter,
      ackOnReceipt: options.ack === 'received',
      handlerTimeout: options.handlerTimeout ?? handlerTimeout,
      parse: options.parse ?? 'auto',
      retry: options.retry === undefined ? undefined : new Retry(options.retry),
      deadLetter: options.deadLetter === undefined || absolute ? options.deadLetter : this.prefixedTopic(options.deadLetter),
      track: new Track({ concurrency: options.concurrency ?? concurrency, order: options.order ?? order }),
      config: options.config
    }
  }

  #compile ({ lifecycle, declared, schema }: RouteDefinition): void {
    const { instance } = lifecycle.scope
    if (schema?.payload !== undefined) lifecycle.checkBody(compileBody(instance, schema.payload, declared))
    if (schema?.reply !== undefined) lifecycle.serialize = compileJson(instance, schema.reply, declared)
  }

  #nameByHandler (name: string, route: MqttRoute): void {
    route.handlerName = name
    const routes = this.#handlerNames.get(name)
    if (routes === undefined) this.#handlerNames.set(name, new Set([route]))
    else routes.add(route)
  }

  #nameOf (route: MqttRoute): string | undefined {
    if (route.definition.name !== undefined) return route.definition.name
    const { handlerName } = route
    return handlerName !== undefined && !this.#named.has(handlerName) && this.#handlerNames.get(handlerName)?.size === 1 ? handlerName : undefined
  }

  async #remove (route: MqttRoute): Promise<void> {
    if (!this.#router.remove(route.definition.absolutePattern, route)) return
    this.#uncompiled?.delete(route)
    const { name } = route.definition
    if (name !== undefined) this.#named.delete(name)
    const { handlerName } = route
    const sharing = handlerName === undefined ? undefined : this.#handlerNames.get(handlerName)
    if (sharing?.delete(route) === true && sharing.size === 0) this.#handlerNames.delete(handlerName!)
    this.onNames()
    await this.#options.ledger.release(route.subscription, route)
  }

  /** A filter as the broker sees it. */
  prefixedFilter (filter: string): string {
    return addPrefix(this.prefix, filter)
  }

  /**
   * A topic as the broker sees it.
   *
   * @throws `FST_MQTT_PARAM` when the prefix makes it too long
   */
  prefixedTopic (topic: string): string {
    const whole = addPrefix(this.prefix, topic)
    if (overflow(whole) !== -1) throw new FST_MQTT_PARAM('With the prefix the topic is longer than 65 535 bytes')
    return whole
  }
}

/** As a URL below Fastify's prefix: an empty pattern is the prefix itself. What is no text is the parser's to refuse. */
function below (mqttPrefix: string, pattern: string): string {
  if (mqttPrefix === '' || typeof pattern !== 'string') return pattern
  return pattern === '' ? mqttPrefix : `${mqttPrefix}/${pattern}`
}

function asList<T> (value: T | readonly T[] | undefined): readonly T[] {
  return value === undefined ? [] : Array.isArray(value) ? [...value as readonly T[]] : [value as T]
}
