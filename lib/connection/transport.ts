import net from 'node:net'
import type { Duplex } from 'node:stream'
import tls from 'node:tls'
import type { ProtocolVersion } from '../wire/packet.ts'
import { createWebSocketStream } from '../ws.ts'

/** Opens a connection to the broker. The stream may still be connecting; what is written to it waits. */
export type OpenTransport = (version: ProtocolVersion) => Duplex

/** Where the broker is. */
export interface Endpoint {
  protocol: 'mqtt' | 'mqtts' | 'ws' | 'wss'
  host: string
  port: number
  /** The HTTP path; only for ws and wss. */
  path: string
}

/** The system's own probes; keepalive of MQTT finds a dead link sooner. */
const TCP_KEEPALIVE = 60_000

/** A transport for the four schemes. `tlsOptions` is asked for each connection, so that rotated files are read anew. */
export function createTransport (endpoint: Endpoint, tlsOptions: () => tls.ConnectionOptions): OpenTransport {
  const { protocol, host, port, path } = endpoint
  // A brace of an IPv6 literal belongs to the URL, not to the address.
  const address = host.replace(/^\[(.*)\]$/, '$1')
  // noDelay: without it successive small publishes wait 40 ms for Nagle's algorithm.
  const common = { host: address, port, noDelay: true, keepAlive: true, keepAliveInitialDelay: TCP_KEEPALIVE }
  switch (protocol) {
    case 'mqtt':
      return () => net.connect(common)
    case 'mqtts':
      return () => {
        const socket = tls.connect({ ...common, ...serverName(address), ...tlsOptions() })
        // tls.connect takes noDelay only for a socket it makes itself in later Node versions.
        socket.setNoDelay(true)
        return socket
      }
    case 'ws':
    case 'wss': {
      const authority = net.isIPv6(address) ? `[${address}]` : address
      const url = `${protocol}://${authority}:${port}${path}`
      return version => createWebSocketStream(url, [version === 3 ? 'mqttv3.1' : 'mqtt'], protocol === 'wss' ? tlsOptions() : {})
    }
  }
}

/** SNI takes names only (RFC 6066 section 3). */
function serverName (address: string): { servername?: string } {
  return net.isIP(address) === 0 ? { servername: address } : {}
}
