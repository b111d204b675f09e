import { buildTopic } from './build.ts'
import type { ConverterMap } from './converters.ts'
import type { Params, ParamsArgument } from './params.ts'
import { parsePattern } from './pattern.ts'
import { Router } from './router.ts'

/** Schemas of a topic's messages, for the application's validator; nothing here looks into them. */
export interface TopicSchema {
  /** What a message's body must be. */
  readonly payload?: unknown
  /** What an answer must be. */
  readonly reply?: unknown
}

/** Options of `defineTopic`. */
export interface TopicOptions<S extends TopicSchema | undefined = TopicSchema | undefined, C extends ConverterMap | undefined = ConverterMap | undefined> {
  /** The route's name, unless the route is given its own. */
  readonly name?: string | undefined
  /** Schemas that every route and publisher of this topic shares. */
  readonly schema?: S
  /** Custom converters for this pattern's placeholders. */
  readonly converters?: C
}

/** A topic that threads, processes and browsers share. `P` are its parameters, `S` its schemas. Frozen. */
export interface TopicDefinition<P = Readonly<Record<string, unknown>>, S extends TopicSchema | undefined = TopicSchema | undefined> {
  /** The pattern as it was written. */
  readonly pattern: string
  /** The MQTT filter that subscribes to it. */
  readonly filter: string
  readonly name: string | undefined
  readonly schema: S
  readonly converters: ConverterMap | undefined
  /** The parameters of a topic, frozen and without prototype; null when the topic does not match. Never throws. */
  match (topic: string): P | null
  /**
   * Builds a topic. Each value must be one that its placeholder would read back.
   *
   * @throws `FST_MQTT_PARAM` naming the parameter
   */
  topicFor (...args: ParamsArgument<P>): string
}

/** Whether a value came from `defineTopic`. Never throws, whatever it is. */
export function isTopicDefinition (value: unknown): value is TopicDefinition {
  try {
    const { topicFor, pattern } = value as TopicDefinition
    return typeof topicFor === 'function' && typeof pattern === 'string'
  } catch {
    return false
  }
}

/**
 * The topic of a definition. Its parameters, if it has any, are the first of the arguments, and are taken off them.
 *
 * @throws `FST_MQTT_PARAM`
 */
export function takeTopic (definition: TopicDefinition, args: unknown[]): string {
  const params = definition.pattern.includes('<') ? [args.shift()] : []
  return definition.topicFor(...params as [never])
}

/**
 * Defines a topic once, for all who publish, subscribe or look at it; its parameters get their types from the pattern.
 *
 * @throws `FST_MQTT_PATTERN` with a caret under the place
 * @example
 * const number = defineTopic('number/<int:n>')
 * number.topicFor({ n: 42 }) // 'number/42'
 * number.match('number/42') // { n: 42 }
 */
export function defineTopic<
  const T extends string,
  const S extends TopicSchema | undefined = undefined,
  C extends ConverterMap | undefined = undefined
> (pattern: T, options: TopicOptions<S, C> = {}): TopicDefinition<Params<T, C>, S> {
  const { name, schema, converters } = options
  const parsed = parsePattern(pattern, converters)
  const router = new Router<true>()
  router.add(parsed, true)
  return Object.freeze({
    pattern: parsed.text,
    filter: parsed.filter,
    name,
    schema: schema as S,
    converters: converters && Object.freeze({ ...converters }),
    match: (topic: string) => router.match(topic)[0]?.params as Params<T, C> | undefined ?? null,
    topicFor: (...[params]: ParamsArgument<Params<T, C>>) => buildTopic(parsed, params as Record<string, unknown> | undefined)
  })
}
