import { hostname } from 'node:os'
import { randomBytes } from 'node:crypto'
import type { Endpoint } from '../connection/transport.ts'
import type { TlsOptions } from '../connection/tls.ts'
import { FST_MQTT_OPTIONS } from '../errors.ts'
import { validateEmbedded, type EmbeddedOptions } from '../embedded/options.ts'
import { unwelcomeCharacter } from '../topics/text.ts'
import type { ProtocolVersion } from '../wire/packet.ts'
import { checkedPrefix, resolveEndpoint } from './endpoint.ts'
import type { MqttPluginOptions } from './plugin-options.ts'
import { validateOptions } from './validate.ts'
import { resolveWill, type ResolvedWill } from './will.ts'

const MiB = 1024 * 1024

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
  will: ResolvedWill
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
  validateOptions(own)
  const embedded = own.embedded === true ? {} : own.embedded === false ? undefined : own.embedded
  if (embedded !== undefined) validateEmbedded(embedded)
  const { prefix: urlPrefix, username, password, ...endpoint } = resolveEndpoint(own)
  if (own.credentials !== undefined && (username !== undefined || password !== undefined)) {
    throw FST_MQTT_OPTIONS('credentials: gives username and password before each CONNECT; take them out of url')
  }
  const prefix = own.prefix === undefined ? urlPrefix : checkedPrefix('prefix', own.prefix)
  if ((own.password ?? password) !== undefined && (own.username ?? username) === undefined) {
    throw FST_MQTT_OPTIONS('password: MQTT has no password without a username')
  }
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
    will: resolveWill(own.will, prefix),
    tls: { ...own.tls },
    reconnect: withDefaults({ min: 100, max: 30_000 }, own.reconnect),
    connect: own.connect ?? true,
    waitForConnection: own.waitForConnection === true ? WAIT : own.waitForConnection === false ? 0 : own.waitForConnection ?? 0,
    prefix,
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
  const odd = unwelcomeCharacter(id)
  if (odd !== null) throw FST_MQTT_OPTIONS(`clientId: must not hold ${odd}`)
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
