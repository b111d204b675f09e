import { hostname } from 'node:os'
import { randomBytes } from 'node:crypto'
import Type from 'typebox'
import { Compile } from 'typebox/compile'
import type { Endpoint } from './connection/transport.ts'
import type { TlsOptions } from './connection/tls.ts'
import { FST_MQTT_OPTIONS } from './errors.ts'
import { validateEmbedded, type EmbeddedOptions } from './embedded/options.ts'
import { isGroup } from './routing/route-options.ts'
import type { MqttPluginOptions } from './plugin-options.ts'
import { normalizePrefix } from './topics/prefix.ts'
import { validateFilter } from './topics/filter.ts'
import type { ProtocolVersion } from './wire/packet.ts'

const MiB = 1024 * 1024

const closed = { additionalProperties: false }
const milliseconds = Type.Number({ minimum: 0, maximum: 2 ** 31 - 1 })
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
  reconnect: optional(Type.Object({ min: optional(milliseconds), max: optional(milliseconds) }, closed)),
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
  outbox: optional(Type.Object({ maxMessages: optional(count), maxBytes: optional(count), inflight: optional(Type.Integer({ minimum: 1, maximum: 32_767 })) }, closed)),
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

const DEFAULT_PORTS = { mqtt: 1883, mqtts: 8883, ws: 80, wss: 443 } as const

/** The options of `register` with everything filled in. */
export interface ResolvedOptions {
  endpoint: Endpoint
  username: string | undefined
  password: string | undefined
  credentials: MqttPluginOptions['credentials']
  clientId: string
  protocolVersion: ProtocolVersion | 'auto'
  keepalive: number
  connectTimeout: number
  session: { clean: boolean, expiry?: number | undefined }
  will: MqttPluginOptions['will']
  tls: TlsOptions
  reconnect: { min: number, max: number }
  connect: boolean
  /** Milliseconds; 0 does not wait. */
  waitForConnection: number
  prefix: string
  namespace: string | undefined
  group: string | undefined
  concurrency: number
  order: 'topic' | 'none'
  ackOrder: 'received' | 'handled'
  handlerTimeout: number
  inbox: { maxMessages: number, maxBytes: number }
  outbox: { maxMessages: number, maxBytes: number, inflight: number }
  publishTimeout: number
  maxPayload: number
  closeTimeout: number
  workers: { topics: string[] | undefined, window: number }
  converters: MqttPluginOptions['converters']
  embedded: EmbeddedOptions | undefined
  client: NonNullable<MqttPluginOptions['client']>
}

/** `waitForConnection: true` must end before Fastify's own limit for plugins does (`pluginTimeout`, 10 s). */
const WAIT = 9_000

/**
 * Validates the options of `register` and fills in the defaults. The caller's object is not changed.
 *
 * @throws `FST_MQTT_OPTIONS` naming the option; never its value, which may be a secret
 */
export function resolveOptions (options: MqttPluginOptions): ResolvedOptions {
  // Fastify adds these to what a plugin is given.
  const { logLevel: _logLevel, logSerializers: _logSerializers, ...own } = options as MqttPluginOptions & { logLevel?: unknown, logSerializers?: unknown }
  validate(own)
  const embedded = own.embedded === true ? {} : own.embedded === false ? undefined : own.embedded
  if (embedded !== undefined) validateEmbedded(embedded)
  const { prefix: urlPrefix, username, password, ...endpoint } = resolveEndpoint(own)
  const session = { clean: own.session?.clean ?? true, expiry: own.session?.expiry }
  return {
    endpoint,
    username: own.username ?? username,
    password: own.password ?? password,
    credentials: own.credentials,
    clientId: resolveClientId(own, session),
    // aedes 1 speaks 3.1.1 and older; asking for 5 first would only cost a round trip.
    protocolVersion: own.protocolVersion ?? (embedded === undefined ? 'auto' : 4),
    keepalive: own.keepalive ?? 15,
    connectTimeout: own.connectTimeout ?? 10_000,
    session,
    will: own.will,
    tls: { ...own.tls },
    reconnect: withDefaults({ min: 100, max: 30_000 }, own.reconnect),
    connect: own.connect ?? true,
    waitForConnection: own.waitForConnection === true ? WAIT : own.waitForConnection === false ? 0 : own.waitForConnection ?? 0,
    prefix: own.prefix === undefined ? urlPrefix : checkedPrefix('prefix', own.prefix),
    namespace: own.namespace,
    group: own.group,
    concurrency: own.concurrency ?? 64,
    order: own.order ?? 'topic',
    ackOrder: own.ackOrder ?? 'received',
    handlerTimeout: own.handlerTimeout ?? 0,
    inbox: withDefaults({ maxMessages: 10_000, maxBytes: 64 * MiB }, own.inbox),
    outbox: withDefaults({ maxMessages: 10_000, maxBytes: 64 * MiB, inflight: 500 }, own.outbox),
    publishTimeout: own.publishTimeout ?? 30_000,
    maxPayload: own.maxPayload ?? MiB,
    closeTimeout: own.closeTimeout ?? 5_000,
    workers: { topics: own.workers?.topics, window: own.workers?.window ?? MiB },
    converters: own.converters,
    embedded,
    client: { ...own.client }
  }
}

function validate (options: MqttPluginOptions): void {
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
  for (const key of Object.keys(options.client ?? {})) {
    if (OWNED.has(key)) throw FST_MQTT_OPTIONS(`client.${key}: is the plugin's own; use its options instead`)
  }
  for (const [name, converter] of Object.entries(options.converters ?? {})) {
    if (!(converter?.pattern instanceof RegExp) || typeof converter.parse !== 'function' || typeof converter.format !== 'function') {
      throw FST_MQTT_OPTIONS(`converters.${name}: must be { pattern: RegExp, parse (text), format (value) }`)
    }
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
  const [first] = errors
  if (first === undefined) return 'The options are not valid'
  const path = dotted(first.instancePath)
  const alternatives = errors.filter(error => error.instancePath === first.instancePath && error.keyword !== 'anyOf').map(error =>
    error.keyword === 'const' ? `must be ${JSON.stringify((error.params as { allowedValue: unknown }).allowedValue)}` : error.message)
  return `${path}: ${[...new Set(alternatives)].join(' or ')}`
}

function dotted (instancePath: string): string {
  return instancePath.slice(1).replaceAll('/', '.')
}

interface UrlParts extends Endpoint {
  prefix: string
  username: string | undefined
  password: string | undefined
}

function resolveEndpoint (options: MqttPluginOptions): UrlParts {
  const url = parseUrl(options.url ?? 'mqtt://127.0.0.1')
  const protocol = options.protocol ?? url.protocol.slice(0, -1) as Endpoint['protocol']
  if (!Object.hasOwn(DEFAULT_PORTS, protocol)) {
    throw FST_MQTT_OPTIONS('url: the scheme must be mqtt, mqtts, ws or wss')
  }
  const overWebSocket = protocol === 'ws' || protocol === 'wss'
  if (options.path !== undefined && !overWebSocket) {
    throw FST_MQTT_OPTIONS('path: is the HTTP path of ws and wss; a topic prefix is the option prefix')
  }
  if (options.tls !== undefined && (protocol === 'mqtt' || protocol === 'ws')) {
    throw FST_MQTT_OPTIONS(`tls: ${protocol} is cleartext; use ${protocol === 'mqtt' ? 'mqtts' : 'wss'}`)
  }
  return {
    protocol,
    host: options.host ?? url.hostname,
    port: options.port ?? (url.port === '' ? DEFAULT_PORTS[protocol] : Number(url.port)),
    path: overWebSocket ? options.path ?? (url.pathname === '' ? '/' : url.pathname) : '',
    prefix: overWebSocket ? '' : checkedPrefix('url', decode('path', url.pathname)),
    username: url.username === '' ? undefined : decode('user', url.username),
    password: url.password === '' ? undefined : decode('password', url.password)
  }
}

function parseUrl (text: string): URL {
  let url: URL
  try {
    url = new URL(text)
  } catch {
    // Not as the cause: Node's error quotes the URL, password included.
    throw FST_MQTT_OPTIONS('url: is not a URL; it looks like mqtt://user:password@host:1883/prefix')
  }
  if (!Object.hasOwn(DEFAULT_PORTS, url.protocol.slice(0, -1))) {
    throw FST_MQTT_OPTIONS(`url: unknown scheme "${url.protocol.slice(0, -1)}"; use mqtt, mqtts, ws or wss`)
  }
  if (url.search !== '' || url.hash !== '') throw FST_MQTT_OPTIONS('url: must not have a query or a fragment; use the options')
  if (url.hostname === '') throw FST_MQTT_OPTIONS('url: has no host')
  return url
}

function decode (part: string, text: string): string {
  try {
    return decodeURIComponent(text)
  } catch {
    throw FST_MQTT_OPTIONS(`url: the ${part} is not percent-encoded correctly`)
  }
}

function checkedPrefix (option: string, prefix: string): string {
  try {
    return normalizePrefix(prefix)
  } catch (cause) {
    throw FST_MQTT_OPTIONS(`${option}: ${(cause as Error).message}`)
  }
}

function resolveClientId (options: MqttPluginOptions, session: { clean: boolean }): string {
  const { clientId } = options
  if (clientId === undefined && !session.clean) {
    throw FST_MQTT_OPTIONS('clientId: a kept session (session.clean false) is found again by it, so it is required')
  }
  if (clientId === undefined) return defaultClientId(options.protocolVersion)
  const id = typeof clientId === 'function' ? clientId() : clientId
  if (typeof id !== 'string' || Buffer.byteLength(id) > 65_535 || id.includes('\0')) {
    throw FST_MQTT_OPTIONS('clientId: must be a string of at most 65 535 bytes')
  }
  if (id === '' && !session.clean) throw FST_MQTT_OPTIONS('clientId: must not be empty with a kept session')
  return id
}

/** Unique per process, so that cluster, PM2 and node --watch never fight over one. */
function defaultClientId (version: MqttPluginOptions['protocolVersion']): string {
  const random = randomBytes(4).toString('hex')
  // MQTT 3.1 allows 23 characters.
  if (version === 3) return `fastify-${random}`
  const app = (process.env.npm_package_name ?? '').replace(/^@[^/]*\//, '').replace(/[^\w.-]/g, '')
  return `${app === '' ? 'fastify' : app}-${hostname()}-${process.pid}-${random}`
}

/** An option that is there but undefined does not hide its default. */
function withDefaults<T extends object> (defaults: T, options: { [K in keyof T]?: T[K] | undefined } | undefined): T {
  const given = Object.entries(options ?? {}).filter(([, value]) => value !== undefined)
  return { ...defaults, ...Object.fromEntries(given) }
}
