import type { TopicSchema } from '../topics/define.ts'
import type { OnErrorHook, PreHandlerHook } from './hooks.ts'
import type { SubscribeOptions } from './subscribe.ts'

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
