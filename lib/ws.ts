import type { IncomingMessage, Server } from 'node:http'
import { createRequire } from 'node:module'
import type { Duplex } from 'node:stream'

/*
 * MQTT over WebSocket, both ends of it. The `ws` package is mqtt.js' own dependency, so it is resolved from there:
 * that holds under pnpm's strict layout too, and nothing is loaded before a WebSocket is asked for.
 */

/** The part of a `ws` WebSocket that is used here. */
interface WebSocketLike {
  on (event: 'message', listener: (data: unknown, isBinary: boolean) => void): this
  once (event: 'close', listener: () => void): this
  close (code: number): void
  terminate (): void
}

interface WebSocketServerLike {
  handleUpgrade (
    request: IncomingMessage, socket: Duplex, head: Buffer, done: (socket: WebSocketLike) => void
  ): void
}

interface Ws {
  new (url: string, protocols: string[], options: object): WebSocketLike
  WebSocketServer: new (options: object) => WebSocketServerLike
  createWebSocketStream: (socket: WebSocketLike) => Duplex
}

/** What `acceptWebSocket` gives back. */
export interface WebSocketListener {
  /** Takes no more clients and closes those that are there; one that does not answer is cut off. */
  close (): void
}

/** MQTT 3.1 calls its subprotocol otherwise [MQTT-6.0.0-3]. */
const SUBPROTOCOLS = ['mqtt', 'mqttv3.1']
/** Milliseconds that a client has to answer our close frame. */
const CLOSE_GRACE = 500
const GOING_AWAY = 1001
const UNSUPPORTED_DATA = 1003

let loaded: Ws | undefined

/** Opens a WebSocket. What is written before it is open waits; a failure to open is the stream's 'error'. */
export function createWebSocketStream (url: string, protocols: string[], options: object): Duplex {
  const ws = loadWs()
  // Compressing every small packet costs far more than it saves.
  const socket = new ws(url, protocols, { perMessageDeflate: false, ...options }) // eslint-disable-line new-cap
  return ws.createWebSocketStream(socket)
}

/**
 * Takes the WebSockets that ask for `path` on an HTTP server and leaves those for other paths to their listeners.
 * A request that `allow` refuses is answered with 403.
 */
export function acceptWebSocket (
  server: Server,
  path: string,
  onStream: (stream: Duplex, request: IncomingMessage) => void,
  allow: (request: IncomingMessage) => boolean = () => true
): WebSocketListener {
  const { WebSocketServer, createWebSocketStream } = loadWs()
  const sockets = new Set<WebSocketLike>()
  const acceptor = new WebSocketServer({
    noServer: true,
    perMessageDeflate: false,
    clientTracking: false,
    handleProtocols: (offered: Set<string>) => SUBPROTOCOLS.find(name => offered.has(name)) ?? false
  })

  function onUpgrade (request: IncomingMessage, socket: Duplex, head: Buffer): void {
    if (pathOf(request) !== path) {
      // With another listener the request may be that one's; alone, nobody would ever answer it.
      if (server.listenerCount('upgrade') === 1) refuse(socket, '404 Not Found')
      return
    }
    if (!offersMqtt(request)) return refuse(socket, '400 Bad Request')
    if (!allow(request)) return refuse(socket, '403 Forbidden')
    acceptor.handleUpgrade(request, socket, head, accept)

    function accept (client: WebSocketLike): void {
      sockets.add(client)
      client.once('close', () => { sockets.delete(client) })
      const stream = createWebSocketStream(client)
      // MQTT goes in binary frames only [MQTT-6.0.0-1].
      client.on('message', (_data, isBinary) => {
        if (!isBinary) client.close(UNSUPPORTED_DATA)
      })
      onStream(stream, request)
    }
  }

  server.on('upgrade', onUpgrade)
  return {
    close () {
      server.removeListener('upgrade', onUpgrade)
      for (const client of sockets) closeInTime(client)
    }
  }
}

function loadWs (): Ws {
  if (loaded === undefined) {
    const fromHere = createRequire(import.meta.url)
    loaded = createRequire(fromHere.resolve('mqtt'))('ws') as Ws
  }
  return loaded
}

function pathOf (request: IncomingMessage): string {
  return (request.url ?? '').split('?', 1)[0] as string
}

function offersMqtt (request: IncomingMessage): boolean {
  const offered = (request.headers['sec-websocket-protocol'] ?? '').split(',').map(name => name.trim())
  return SUBPROTOCOLS.some(name => offered.includes(name))
}

function refuse (socket: Duplex, status: string): void {
  // The HTTP parser has let go of the socket, and its errors with it.
  socket.on('error', () => {})
  socket.end(`HTTP/1.1 ${status}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n`, () => { socket.destroy() })
}

function closeInTime (client: WebSocketLike): void {
  const timer = setTimeout(() => { client.terminate() }, CLOSE_GRACE)
  timer.unref()
  client.once('close', () => { clearTimeout(timer) })
  client.close(GOING_AWAY)
}
