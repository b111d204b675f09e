import type { IClientOptions } from 'mqtt'
import type { TlsOptions } from '../connection/tls.ts'
import type { EmbeddedOptions } from '../embedded/options.ts'
import type { Converter } from '../topics/converters.ts'
import type { ProtocolVersion, QoS } from '../wire/packet.ts'

/** A will: what the broker publishes when this application vanishes without DISCONNECT. */
export interface WillOptions {
  topic: string
  /** As `publish` takes it. Default empty. */
  payload?: unknown
  qos?: QoS | undefined
  retain?: boolean | undefined
  /** MQTT 5 section 3.1.3.2, such as `willDelayInterval`. */
  properties?: NonNullable<NonNullable<IClientOptions['will']>['properties']> | undefined
  /** The prefix is not put before the topic. */
  absolute?: boolean | undefined
}

/** What a broker knows an application by. */
export interface Credentials {
  username?: string | undefined
  password?: string | undefined
}

/** Options of `fastify.register(multimqtt, options)`. All have defaults; docs/options.md explains each. */
export interface MqttPluginOptions {
  /** `mqtt`, `mqtts`, `ws` or `wss`. The path is the topic prefix (mqtt, mqtts) or the HTTP path (ws, wss). Default `mqtt://127.0.0.1`. */
  url?: string | undefined
  /** Overrides the URL's scheme. */
  protocol?: 'mqtt' | 'mqtts' | 'ws' | 'wss' | undefined
  /** Overrides the URL's host. */
  host?: string | undefined
  /** Overrides the URL's port. Default 1883, 8883, 80, 443. */
  port?: number | undefined
  /** Overrides the URL's HTTP path (ws, wss). */
  path?: string | undefined
  /** Overrides the URL's user. */
  username?: string | undefined
  /** Overrides the URL's password. */
  password?: string | undefined
  /** Asked before every CONNECT, for tokens that expire. */
  credentials?: (() => Promise<Credentials> | Credentials) | undefined
  /** Default: unique per process. */
  clientId?: string | (() => string) | undefined
  /** Default `'auto'`: 5, falling back to 4 (3.1.1). */
  protocolVersion?: ProtocolVersion | 'auto' | undefined
  /** Seconds; a dead link is found within 1.5 times this. 0 turns it off. Default 15. */
  keepalive?: number | undefined
  /** Milliseconds for TCP, TLS and CONNACK together. Default 10 000. */
  connectTimeout?: number | undefined
  /** `{ clean: false, expiry: seconds }` keeps the session; then `clientId` is required. Default `{ clean: true }`. */
  session?: { clean?: boolean | undefined, expiry?: number | undefined } | undefined
  /** A will, or a function that gives one before every CONNECT. */
  will?: WillOptions | (() => WillOptions | undefined | Promise<WillOptions | undefined>) | undefined
  /** For mqtts and wss. Certificates and host names are checked. */
  tls?: TlsOptions | undefined
  /** Milliseconds; exponential with full jitter. Default `{ min: 100, max: 30_000 }`. */
  reconnect?: { min?: number | undefined, max?: number | undefined } | undefined
  /** `false` never opens a socket. Default true. */
  connect?: boolean | undefined
  /** `true` or milliseconds: `ready()` waits for CONNACK and the first SUBACKs. Default false. */
  waitForConnection?: boolean | number | undefined
  /** Put before every topic and filter, and taken off every inbound topic. Default none. */
  prefix?: string
  /** A further connection: `app.mqtt.<namespace>`. */
  namespace?: string | undefined
  /** Shared-subscription group for all routes. Default none. */
  group?: string | undefined
  /** Handlers running at once. Default 64. */
  concurrency?: number | undefined
  /** Default `'topic'`: messages of one topic are handled one after another. */
  order?: 'topic' | 'none' | undefined
  /** Default `'received'`: acknowledgements leave in order of receipt. */
  ackOrder?: 'received' | 'handled' | undefined
  /** Milliseconds a handler may take; 0 is no limit. Default 0. */
  handlerTimeout?: number | undefined
  /** Messages received and not yet handled. Default `{ maxMessages: 10_000, maxBytes: 64 MiB }`. */
  inbox?: { maxMessages?: number | undefined, maxBytes?: number | undefined } | undefined
  /** Publishes accepted and not yet confirmed. Default `{ maxMessages: 10_000, maxBytes: 64 MiB, inflight: 500 }`. */
  outbox?: { maxMessages?: number | undefined, maxBytes?: number | undefined, inflight?: number | undefined } | undefined
  /** Milliseconds until an unconfirmed publish is rejected; 0 is never. Default 30 000. */
  publishTimeout?: number | undefined
  /** Bytes of an inbound payload; a larger one is skipped, acknowledged and reported. Default 1 MiB. */
  maxPayload?: number | undefined
  /** Milliseconds for draining on `app.close()`. Default 5 000. */
  closeTimeout?: number | undefined
  /** `topics`: the filters, as the broker sees them, that workers may publish to. `window`: bytes unconfirmed per worker. Default all, 1 MiB. */
  workers?: { topics?: string[] | undefined, window?: number | undefined } | undefined
  /** Custom placeholders for patterns. */
  converters?: Readonly<Record<string, Converter>> | undefined
  /** Runs a broker in this process and connects to it in memory. Default false. */
  embedded?: boolean | EmbeddedOptions | undefined
  /** Further mqtt.js options; those that the plugin owns are refused. */
  client?: Partial<IClientOptions> | undefined
}
