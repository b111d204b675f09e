import { FST_MQTT_OPTIONS } from '../errors.ts'
import type { RouteOptions, SubscribeOptions } from '../types/index.ts'
import type { SubscriptionOptions } from '../connection/subscription.ts'
import { topicNameError } from '../topics/topic.ts'

type Check = { readonly test: (value: unknown) => boolean, readonly must: string }

const hooks: Check = { test: value => typeof value === 'function' || (Array.isArray(value) && value.every(hook => typeof hook === 'function')), must: 'must be a function, or an array of functions' }
const boolean: Check = { test: value => typeof value === 'boolean', must: 'must be a boolean' }
const text: Check = { test: value => typeof value === 'string' && value !== '', must: 'must be a string that is not empty' }

const subscribeChecks: Readonly<Record<keyof SubscribeOptions, Check>> = {
  qos: { test: value => value === 0 || value === 1 || value === 2, must: 'must be 0, 1 or 2' },
  noLocal: boolean,
  retainAsPublished: boolean,
  retainHandling: { test: value => value === 0 || value === 1 || value === 2, must: 'must be 0, 1 or 2' },
  absolute: boolean
}

const routeChecks: Readonly<Record<keyof RouteOptions, Check>> = {
  ...subscribeChecks,
  name: text,
  group: { test: value => value === false || isGroup(value), must: 'must be false, or a name without "/", "+" and "#"' },
  ack: { test: value => value === 'handled' || value === 'received', must: "must be 'handled' or 'received'" },
  concurrency: { test: value => Number.isSafeInteger(value) && (value as number) >= 1, must: 'must be a whole number, 1 or more' },
  order: { test: value => value === 'topic' || value === 'none', must: "must be 'topic' or 'none'" },
  handlerTimeout: { test: value => typeof value === 'number' && value >= 0 && value < 2 ** 31, must: 'must be a number of milliseconds, 0 to 2 147 483 647' },
  parse: { test: value => value === 'auto' || value === 'json' || value === 'text' || value === 'buffer', must: "must be 'auto', 'json', 'text' or 'buffer'" },
  schema: { test: isSchemas, must: 'must be an object with the schemas payload and reply, or one of them' },
  // By the class that it makes.
  retry: { test: () => true, must: '' },
  deadLetter: { test: value => typeof value === 'string' && topicNameError(value) === null, must: 'must be a topic, without wildcards' },
  preHandler: hooks,
  onError: hooks,
  config: { test: () => true, must: '' }
}

function isSchemas (value: unknown): boolean {
  return typeof value === 'object' && value !== null && !Array.isArray(value) && Object.keys(value).every(key => key === 'payload' || key === 'reply')
}

/** MQTT 5 section 4.8.2: a share name holds none of `/`, `+`, `#` and is not empty. */
export function isGroup (value: unknown): boolean {
  return typeof value === 'string' && value !== '' && !/[/+#\0]/.test(value)
}

/**
 * The options of a route, checked. What comes back is a copy, each read once: a getter could give another value the next time.
 *
 * @throws `FST_MQTT_OPTIONS` naming the option
 */
export function checkRouteOptions (options: RouteOptions): RouteOptions {
  return check('route', options, routeChecks)
}

/** The same for those of `subscribe`. */
export function checkSubscribeOptions (options: SubscribeOptions): SubscribeOptions {
  return check('subscribe', options, subscribeChecks)
}

/** Where only `absolute` can be said. */
export function isAbsolute (what: string, options: { absolute?: boolean | undefined } | undefined): boolean {
  if (options === undefined) return false
  return check(what, options, { absolute: boolean }).absolute ?? false
}

/** The part that goes into SUBSCRIBE, with its defaults. */
export function subscriptionOptions (options: SubscribeOptions): SubscriptionOptions {
  return {
    qos: options.qos ?? 0,
    noLocal: options.noLocal ?? false,
    retainAsPublished: options.retainAsPublished ?? false,
    retainHandling: options.retainHandling ?? 0
  }
}

function check<T extends object> (what: string, options: T, checks: Readonly<Record<string, Check>>): T {
  if (typeof options !== 'object' || options === null || Array.isArray(options)) {
    throw FST_MQTT_OPTIONS(`${what}: the options must be an object`)
  }
  const checked: Record<string, unknown> = {}
  for (const key in options) {
    const one = Object.hasOwn(checks, key) ? checks[key] : undefined
    if (one === undefined) throw FST_MQTT_OPTIONS(`${key}: unknown option of ${what} (known: ${Object.keys(checks).join(', ')})`)
    const value: unknown = options[key]
    if (value !== undefined && !one.test(value)) throw FST_MQTT_OPTIONS(`${key} ${one.must}`)
    checked[key] = value
  }
  return checked as T
}
