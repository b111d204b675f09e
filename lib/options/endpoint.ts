import type { Endpoint } from '../connection/transport.ts'
import { FST_MQTT_OPTIONS } from '../errors.ts'
import { normalizePrefix } from '../topics/prefix.ts'
import type { MqttPluginOptions } from './plugin-options.ts'

const DEFAULT_PORTS = { mqtt: 1883, mqtts: 8883, ws: 80, wss: 443 } as const

/** What a URL says besides where the broker is. */
interface UrlParts extends Endpoint {
  prefix: string
  username: string | undefined
  password: string | undefined
}

/** The URL and what overrides it. */
export function resolveEndpoint (options: MqttPluginOptions): UrlParts {
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
    port: options.port ?? portOf(url, protocol),
    path: overWebSocket ? options.path ?? (url.pathname === '' ? '/' : url.pathname) : '',
    prefix: overWebSocket ? '' : checkedPrefix('url', decode('path', url.pathname)),
    username: url.username === '' ? undefined : decode('user', url.username),
    password: url.password === '' ? undefined : decode('password', url.password)
  }
}

function portOf (url: URL, protocol: Endpoint['protocol']): number {
  if (url.port === '') return DEFAULT_PORTS[protocol]
  if (url.port === '0') throw FST_MQTT_OPTIONS('url: 0 is no port')
  return Number(url.port)
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

/** The prefix without slashes at its ends; `option` is named when it is none. */
export function checkedPrefix (option: string, prefix: string): string {
  try {
    return normalizePrefix(prefix)
  } catch (cause) {
    throw FST_MQTT_OPTIONS(`${option}: ${(cause as Error).message}`)
  }
}
