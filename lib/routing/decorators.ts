import { FST_MQTT_OPTIONS } from '../errors.ts'
import type { TopicDefinition, TopicSchema } from '../topics/define.ts'
import type { Answer, Handler, Message, RouteOptions, SchemaIn } from '../types/index.ts'

// Node 20 to 24 have no Symbol.metadata, and decorators evaluate as soon as a decorated class does. The registered
// symbol is the one that compilers' helpers fall back to.
;(Symbol as { metadata?: symbol }).metadata ??= Symbol.for('Symbol.metadata')

const kTopics = Symbol.for('fastify-multimqtt.topics')

/** A method that was decorated with `@topic`. */
export interface DecoratedTopic {
  readonly method: string | symbol
  readonly topic: string | TopicDefinition
  readonly options: RouteOptions
}

interface Decorated { [kTopics]?: DecoratedTopic[] }

/**
 * Makes a method a handler of a topic, when its object is given to `app.mqtt.controller()`. The pattern types the
 * method's parameter; the route's name is the method's, unless `name` says another. A method may have several.
 *
 * Standard (TC39) decorators; compile with tsc, swc or esbuild, as Node itself does not run them.
 *
 * @example
 * class Numbers {
 *   @topic('number/<int:n>', { qos: 1 })
 *   async onNumber (message: Message<'number/<int:n>'>) {}
 * }
 */
export function topic<const P extends string | TopicDefinition, const S extends TopicSchema = SchemaIn<P>> (pattern: P, options: RouteOptions<S> = {}) {
  return function <This, Result extends Answer<NoInfer<S>>> (
    _method: (this: This, message: Message<P, NoInfer<S>>) => Result,
    context: ClassMethodDecoratorContext<This, (this: This, message: Message<P, NoInfer<S>>) => Result>
  ): void {
    if (context.private) throw FST_MQTT_OPTIONS(`@topic cannot reach ${String(context.name)}: it is private`)
    if (context.static) throw FST_MQTT_OPTIONS(`@topic is for methods of an object, and ${String(context.name)} is static`)
    const metadata = context.metadata as Decorated
    // Metadata inherits from the base class's: a list of its own, or its methods would become the base class's too.
    if (!Object.hasOwn(metadata, kTopics)) metadata[kTopics] = []
    metadata[kTopics]!.push({ method: context.name, topic: pattern, options })
  }
}

/** What `@topic` noted on an object's class and its base classes, base classes first. What a subclass decorates anew counts there alone. */
export function decoratedTopics (instance: object): DecoratedTopic[] {
  const found: DecoratedTopic[] = []
  // An object may have no prototype, and a constructor of its own making.
  let metadata = (instance.constructor as unknown as Record<symbol, Decorated | undefined> | null | undefined)?.[Symbol.metadata]
  for (; metadata !== undefined && metadata !== null; metadata = Object.getPrototypeOf(metadata) as Decorated | undefined) {
    if (!Object.hasOwn(metadata, kTopics)) continue
    const derived = new Set(found.map(({ method }) => method))
    found.unshift(...metadata[kTopics]!.filter(({ method }) => !derived.has(method)))
  }
  return found
}

/** The handler of a decorated method, looked up when a message comes, so that an override in a subclass is what runs. */
export function methodHandler (method: string | symbol): Handler {
  const handler = function (this: object, message: Message): unknown {
    return (this as Record<string | symbol, Handler>)[method]!.call(this as never, message)
  }
  Object.defineProperty(handler, 'name', { value: typeof method === 'string' ? method : method.description ?? '' })
  return handler
}
