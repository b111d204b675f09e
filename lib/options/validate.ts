import Type from 'typebox'
import { Compile } from 'typebox/compile'
import { FST_MQTT_OPTIONS } from '../errors.ts'
import { isGroup } from '../routing/route-options.ts'
import { validateFilter } from '../topics/filter.ts'
import type { MqttPluginOptions } from './plugin-options.ts'

const closed = { additionalProperties: false }
const milliseconds = Type.Number({ minimum: 0, maximum: 2 ** 31 - 1 })
/** Without one, a broker that is away would be asked without a rest. */
const wait = Type.Number({ minimum: 1, maximum: 2 ** 31 - 1 })
const count = Type.Integer({ minimum: 1 })
const func = Type.Refine(Type.Unknown(), value => typeof value === 'function', () => 'must be a function')
const bytes = Type.Refine(Type.Unknown(), value => typeof value === 'string' || value instanceof Uint8Array, () => 'must be text, bytes or a path')
const optional = Type.Optional

const schema = Type.Object({
  url: optional(Type.String()),
  protocol: optional(Type.Union([Type.Literal('mqtt'), Type.Literal('mqtts'), Type.Literal('ws'), Type.Literal('wss')])),
  host: optional(Type.String({ minLength: 1 })),
  port: optional(Type.Integer({ minimum: 1, maximum: 65_535 })),
  path: optional(Type.String()),
  username: optional(Type.String()),
  password: optional(Type.String()),
  credentials: optional(func),
  clientId: optional(Type.Union([Type.String(), func])),
  protocolVersion: optional(Type.Union([Type.Literal(3), Type.Literal(4), Type.Literal(5), Type.Literal('auto')])),
  keepalive: optional(Type.Integer({ minimum: 0, maximum: 65_535 })),
  connectTimeout: optional(Type.Integer({ minimum: 1, maximum: 2 ** 31 - 1 })),
  session: optional(Type.Object({
    clean: optional(Type.Boolean()),
    expiry: optional(Type.Integer({ minimum: 0, maximum: 0xffffffff }))
  }, closed)),
  will: optional(Type.Union([func, Type.Object({
    topic: Type.String({ minLength: 1 }),
    payload: optional(Type.Unknown()),
    qos: optional(Type.Union([Type.Literal(0), Type.Literal(1), Type.Literal(2)])),
    retain: optional(Type.Boolean()),
    properties: optional(Type.Record(Type.String(), Type.Unknown())),
    absolute: optional(Type.Boolean())
  }, closed)])),
  tls: optional(Type.Object({
    ca: optional(Type.Union([bytes, Type.Array(bytes)])),
    cert: optional(bytes),
    key: optional(bytes),
    pfx: optional(bytes),
    passphrase: optional(Type.String()),
    servername: optional(Type.String()),
    ALPNProtocols: optional(Type.Array(Type.String())),
    minVersion: optional(Type.Union([Type.Literal('TLSv1.2'), Type.Literal('TLSv1.3')])),
    maxVersion: optional(Type.Union([Type.Literal('TLSv1.2'), Type.Literal('TLSv1.3')])),
    ciphers: optional(Type.String()),
    rejectUnauthorized: optional(Type.Boolean())
  }, closed)),
  reconnect: optional(Type.Object({ min: optional(wait), max: optional(wait) }, closed)),
  connect: optional(Type.Boolean()),
  waitForConnection: optional(Type.Union([Type.Boolean(), milliseconds])),
  prefix: optional(Type.String()),
  namespace: optional(Type.String({ minLength: 1 })),
  group: optional(Type.Refine(Type.Unknown(), isGroup, () => 'must be a name without "/", "+" and "#"')),
  concurrency: optional(count),
  order: optional(Type.Union([Type.Literal('topic'), Type.Literal('none')])),
  ackOrder: optional(Type.Union([Type.Literal('received'), Type.Literal('handled')])),
  handlerTimeout: optional(milliseconds),
  inbox: optional(Type.Object({ maxMessages: optional(count), maxBytes: optional(count) }, closed)),
  outbox: optional(Type.Object({ maxMessages: optional(count), maxBytes: optional(count), inflight: optional(Type.Integer({ minimum: 1, maximum: 16_383 })) }, closed)),
  publishTimeout: optional(milliseconds),
  maxPayload: optional(Type.Integer({ minimum: 1, maximum: 268_000_000 })),
  closeTimeout: optional(milliseconds),
  workers: optional(Type.Object({ topics: optional(Type.Array(Type.String())), window: optional(count) }, closed)),
  converters: optional(Type.Record(Type.String(), Type.Unknown())),
  embedded: optional(Type.Union([Type.Boolean(), Type.Object({
    port: optional(Type.Integer({ minimum: 0, maximum: 65_535 })),
    host: optional(Type.String({ minLength: 1 })),
    ws: optional(Type.String({ pattern: '^/' })),
    authenticate: optional(func),
    authorizePublish: optional(func),
    authorizeSubscribe: optional(func)
  }, closed)])),
  client: optional(Type.Record(Type.String(), Type.Unknown()))
}, closed)

const validator = Compile(schema)

/** mqtt.js options that would take something out of the plugin's hands; each has an option of the plugin's own. */
const OWNED = new Set([
  'clientId', 'protocolId', 'protocolVersion', 'keepalive', 'connectTimeout', 'clean', 'username', 'password', 'will',
  'reconnectPeriod', 'reconnectOnConnackError', 'resubscribe', 'manualConnect', 'messageIdProvider', 'incomingStore', 'outgoingStore',
  'queueQoSZero', 'reschedulePings', 'timerVariant', 'log', 'customHandleAcks', 'autoUseTopicAlias', 'autoAssignTopicAlias',
  'host', 'hostname', 'port', 'path', 'protocol', 'servers', 'wsOptions', 'createWebsocket', 'transformWsUrl', 'ca', 'cert', 'key', 'pfx',
  'passphrase', 'rejectUnauthorized', 'socksProxy'
])

/** Converters that every pattern knows. */
const BUILT_IN = new Set(['str', 'int', 'float', 'uuid', 'any', 'path'])

/** CONNECT properties that the plugin sets from its options, or that its data plane does not know. */
const OWNED_PROPERTIES = new Set(['receiveMaximum', 'maximumPacketSize', 'sessionExpiryInterval', 'topicAliasMaximum'])

/** Those that are left to the application (MQTT 5 section 3.1.2.11). */
const CONNECT_PROPERTIES = ['requestResponseInformation', 'requestProblemInformation', 'userProperties', 'authenticationMethod', 'authenticationData']

/**
 * Checks the options of `register`, one by one and against each other.
 *
 * @throws `FST_MQTT_OPTIONS` naming the option; never its value, which may be a secret
 */
export function validateOptions (options: MqttPluginOptions): void {
  if (!validator.Check(options)) throw FST_MQTT_OPTIONS(explain(options))
  if (options.embedded !== undefined && options.embedded !== false) {
    for (const key of ['url', 'protocol', 'host', 'port', 'path', 'tls', 'credentials'] as const) {
      if (options[key] !== undefined) throw FST_MQTT_OPTIONS(`${key}: has no meaning with the option embedded, which connects in memory`)
    }
    if (options.protocolVersion === 5) throw FST_MQTT_OPTIONS('protocolVersion: the embedded broker speaks MQTT 3.1 and 3.1.1')
  }
  if (options.credentials !== undefined && (options.username !== undefined || options.password !== undefined)) {
    throw FST_MQTT_OPTIONS('credentials: gives username and password before each CONNECT; leave those two out')
  }
  if (options.reconnect?.min !== undefined && options.reconnect.min > (options.reconnect.max ?? 30_000)) {
    throw FST_MQTT_OPTIONS('reconnect.min: must not be above reconnect.max')
  }
  if (options.session?.expiry !== undefined && (options.session.clean ?? true)) {
    throw FST_MQTT_OPTIONS('session.expiry: is for a kept session; say session.clean: false as well')
  }
  for (const key of Object.keys(options.client ?? {})) {
    if (OWNED.has(key)) throw FST_MQTT_OPTIONS(`client.${key}: is the plugin's own; use its options instead`)
  }
  for (const [name, converter] of Object.entries(options.converters ?? {})) {
    if (BUILT_IN.has(name) || !/^[A-Za-z_]\w*$/.test(name)) throw FST_MQTT_OPTIONS(`converters: "${name}" is ${BUILT_IN.has(name) ? 'a built-in converter' : 'no name for one'}`)
    if (!(converter?.pattern instanceof RegExp) || typeof converter.parse !== 'function' || typeof converter.format !== 'function') {
      throw FST_MQTT_OPTIONS(`converters.${name}: must be { pattern: RegExp, parse (text), format (value) }`)
    }
  }
  for (const key of Object.keys((options.client?.properties ?? {}) as object)) {
    if (OWNED_PROPERTIES.has(key)) throw FST_MQTT_OPTIONS(`client.properties.${key}: is the plugin's own`)
    if (!CONNECT_PROPERTIES.includes(key)) throw FST_MQTT_OPTIONS(`client.properties.${key}: CONNECT has no such property (known: ${CONNECT_PROPERTIES.join(', ')})`)
  }
  options.workers?.topics?.forEach((filter, i) => {
    try {
      validateFilter(filter)
    } catch (cause) {
      throw FST_MQTT_OPTIONS(`workers.topics/${i}: ${(cause as Error).message}`)
    }
  })
}

/** Says which option is wrong and why, without its value. */
function explain (options: unknown): string {
  if (typeof options !== 'object' || options === null) return 'The options must be an object'
  const unknown = Object.keys(options).find(key => !Object.hasOwn(schema.properties, key))
  if (unknown !== undefined) return `${unknown}: unknown option`
  const errors = validator.Errors(options)
  const unknownNested = errors.find(error => error.keyword === 'boolean')
  if (unknownNested !== undefined) return `${dotted(unknownNested.instancePath)}: unknown option`
  // Of the alternatives of a union, the one that came furthest is the one that was meant.
  const depth = (path: string): number => path.split('/').length
  const deepest = errors.reduce((best, error) => depth(error.instancePath) > depth(best) ? error.instancePath : best, '')
  const here = errors.filter(({ instancePath, keyword }) => instancePath === deepest && keyword !== 'anyOf')
  const values = here.filter(({ keyword }) => keyword === 'const').map(({ params }) => JSON.stringify((params as { allowedValue: unknown }).allowedValue))
  const must = values.length > 0 ? `must be ${values.join(' or ')}` : [...new Set(here.map(({ message }) => message))].join(' or ')
  return deepest === '' ? 'The options are not valid' : `${dotted(deepest)}: ${must}`
}

function dotted (instancePath: string): string {
  return instancePath.slice(1).replaceAll('/', '.')
}
