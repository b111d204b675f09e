import { isIP } from 'node:net'
import { FST_MQTT_OPTIONS } from '../errors.ts'

/** Who a client of the embedded broker is. */
export interface EmbeddedClient {
  readonly clientId: string
  /** As given in CONNECT, and accepted by `authenticate`. */
  readonly username: string | undefined
}

/** What a client of the embedded broker says of itself in CONNECT. */
export interface EmbeddedCredentials extends EmbeddedClient {
  readonly password: string | undefined
}

/** What a client of the embedded broker wants to publish. */
export interface EmbeddedPublish {
  readonly topic: string
  readonly payload: Buffer
  readonly qos: 0 | 1 | 2
  readonly retain: boolean
}

/** What a client of the embedded broker wants to receive. */
export interface EmbeddedSubscribe {
  readonly filter: string
  readonly qos: 0 | 1 | 2
}

type Verdict = boolean | Promise<boolean>

/** Options of the embedded broker. Neither `port` nor `ws` is on by itself. */
export interface EmbeddedOptions {
  /** Opens TCP on this port; 0 takes a free one. */
  port?: number | undefined
  /** Where TCP listens. Default `127.0.0.1`. One that is not loopback needs `authenticate`. */
  host?: string | undefined
  /** Takes WebSockets under this path of the Fastify server, such as `'/mqtt'`. */
  ws?: string | undefined
  /** Whether to let a client in. Without it anybody who reaches the port is let in. */
  authenticate?: ((client: EmbeddedCredentials) => Verdict) | undefined
  /** Whether a client may publish this. MQTT 3.1.1 has no answer for no: the client is disconnected. */
  authorizePublish?: ((client: EmbeddedClient, message: EmbeddedPublish) => Verdict) | undefined
  /** Whether a client may subscribe to this. It is told 0x80 when not. */
  authorizeSubscribe?: ((client: EmbeddedClient, subscription: EmbeddedSubscribe) => Verdict) | undefined
}

export const DEFAULT_HOST = '127.0.0.1'

/**
 * Refuses options that contradict each other or open the broker to the network unguarded.
 *
 * @throws `FST_MQTT_OPTIONS`
 */
export function validateEmbedded (options: EmbeddedOptions): void {
  const { port, host, ws, authenticate } = options
  if (port !== undefined && !(Number.isInteger(port) && port >= 0 && port <= 65_535)) {
    throw new FST_MQTT_OPTIONS(`embedded.port: must be a port number, got ${String(port)}`)
  }
  if (ws !== undefined && !/^\/[^?#\s]*$/.test(ws)) {
    throw new FST_MQTT_OPTIONS("embedded.ws: must be a path that begins with '/', without a query")
  }
  if (host !== undefined && !isLoopback(host) && authenticate === undefined) {
    throw new FST_MQTT_OPTIONS(
      `embedded.host: '${host}' can be reached from other machines; give embedded.authenticate, or use '${DEFAULT_HOST}'`
    )
  }
}

/** Whether only this machine reaches the host. */
export function isLoopback (host: string): boolean {
  const bare = host.toLowerCase().replace(/^\[(.*)\]$/, '$1').replace(/^::ffff:(?=[0-9.]+$)/, '')
  if (isIP(bare) === 4) return bare.startsWith('127.')
  return bare === '::1' || bare === 'localhost'
}
