import type { FastifyInstance } from 'fastify'
import type { Subscription } from '../connection/subscription.ts'
import { FST_MQTT_OPTIONS } from '../errors.ts'
import { buildTopic } from '../topics/build.ts'
import type { TopicSchema } from '../topics/define.ts'
import type { Pattern } from '../topics/pattern.ts'
import type { Granted, Handler, ParseMode, Route } from '../types/index.ts'
import type { HandlingRules } from './handler-job.ts'
import { isAbsolute } from './route-options.ts'
import type { Scope } from './scope.ts'

/** What a route is made of, after its options were checked and its defaults filled in. */
export interface RouteDefinition extends HandlingRules {
  readonly schema: TopicSchema | undefined
  readonly scope: Scope
  /** What `this` is in the handlers: the scope's instance, or a controller's own. */
  readonly context: object
  readonly name: string | undefined
  readonly declared: string
  /** Relative to the prefix, unless `absolute`. */
  readonly pattern: Pattern
  /** As topics come over the wire. */
  readonly absolutePattern: Pattern
  readonly absolute: boolean
  /** It has no converters of the application's own: any thread can build its topics. */
  readonly portable: boolean
  readonly filter: string
  readonly ackOnReceipt: boolean
  readonly parse: ParseMode
  /** As the broker sees it. */
  readonly deadLetter: string | undefined
  readonly config: unknown
}

/** What the registry does for its routes. */
export interface RouteOwner {
  /** The topic as the broker sees it. */
  prefixed (topic: string): string
  nameOf (route: MqttRoute): string | undefined
  remove (route: MqttRoute): Promise<void>
}

/** A declared route. */
export class MqttRoute implements Route {
  readonly definition: RouteDefinition
  readonly subscription: Subscription
  readonly subscribed: Promise<Granted>
  handlers: readonly Handler[] = []
  /** Of the handler it was declared with: a name as long as one route alone has it. */
  handlerName: string | undefined
  readonly #owner: RouteOwner

  constructor (definition: RouteDefinition, owner: RouteOwner, subscribe: (route: MqttRoute) => Subscription) {
    this.definition = definition
    this.#owner = owner
    this.subscription = subscribe(this)
    this.subscribed = this.subscription.answered()
    // A refusal shows in status() and is logged; a route whose promise nobody looks at must not end the process.
    this.subscribed.catch(noop)
  }

  get name (): string | undefined {
    return this.#owner.nameOf(this)
  }

  get pattern (): string {
    return this.definition.declared
  }

  get filter (): string {
    return this.definition.filter
  }

  get config (): unknown {
    return this.definition.config
  }

  get context (): FastifyInstance {
    return this.definition.context as FastifyInstance
  }

  onMessage (handler: Handler, options: { remove?: boolean | undefined } = {}): this {
    if (typeof handler !== 'function') throw FST_MQTT_OPTIONS(`The handler of "${this.pattern}" must be a function`)
    if (typeof options !== 'object' || options === null) throw FST_MQTT_OPTIONS('onMessage: the options must be an object')
    const { remove = false } = options
    // A new array each time: messages that are being handled keep the list they began with.
    this.handlers = remove ? this.handlers.filter(other => other !== handler) : [...this.handlers, handler]
    return this
  }

  topicFor (params: object = {}, options?: { absolute?: boolean | undefined }): string {
    const topic = buildTopic(this.definition.pattern, params as Record<string, unknown>)
    return isAbsolute('topicFor', options) && !this.definition.absolute ? this.#owner.prefixed(topic) : topic
  }

  remove (): Promise<void> {
    return this.#owner.remove(this)
  }
}

function noop (): void {}
