import type { IncomingMessage, Server as HttpServer } from 'node:http'
import { createServer, type AddressInfo, type Server, type Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import { setTimeout as delay } from 'node:timers/promises'
import type { Aedes, AedesOptions, Client } from 'aedes'
import type { FastifyBaseLogger } from 'fastify'
import { FST_MQTT_EMBEDDED } from '../errors.ts'
import { acceptWebSocket, type WebSocketListener } from '../ws.ts'
import { duplexPair } from './duplex-pair.ts'
import { DEFAULT_HOST, isLoopback, validateEmbedded, type EmbeddedOptions } from './options.ts'
import { createPermissions, refusedFilters } from './permissions.ts'

/** A broker in this process. It speaks MQTT 3.1 and 3.1.1. */
export interface EmbeddedBroker {
  /** Loads aedes and opens TCP where `port` is given. Rejects with `FST_MQTT_EMBEDDED`. */
  start (): Promise<void>
  /** Takes WebSockets on an HTTP server where `ws` is given. May be called before `start`. */
  attach (server: HttpServer): void
  /** Closes the WebSockets. An HTTP server does not close before they are gone, so this belongs before its close. */
  detach (): void
  /** A connection for the application itself, in memory and trusted. */
  connect (): Duplex
  /** Where TCP listens, or null. */
  address (): { host: string, port: number } | null
  /** Ends everything; it never hangs, and may be called in any state and again. */
  close (): Promise<void>
}

interface AedesModule {
  Aedes: { createBroker (options: AedesOptions): Promise<Aedes> }
}

/** What is used of aedes beyond its types; all of it may be missing. */
interface AedesInternals {
  mq?: { current?: number, length?: number }
  persistence?: { removeSubscriptions?: (client: Client, filters: string[]) => Promise<unknown> }
}

/** Milliseconds for what the broker has taken to reach its subscribers, and for its clients to be closed. */
const CLOSE_GRACE = 1_000

/** Builds the broker; nothing runs before `start`. `load` is there for the test of a missing aedes. */
export function createEmbeddedBroker (
  options: EmbeddedOptions, logger: FastifyBaseLogger, load: () => Promise<AedesModule> = async () => import('aedes')
): EmbeddedBroker {
  validateEmbedded(options)
  return new Broker(options, logger, load)
}

class Broker implements EmbeddedBroker {
  readonly #options: EmbeddedOptions
  readonly #logger: FastifyBaseLogger
  readonly #load: () => Promise<AedesModule>
  readonly #streams = new Set<Duplex>()
  /** The broker's ends of the application's own connections. */
  readonly #trusted = new WeakSet<Duplex>()
  #aedes: Aedes | undefined
  #server: Server | undefined
  #websockets: WebSocketListener[] = []
  #starting: Promise<void> | undefined
  #closing: Promise<void> | undefined
  #warnedOfExposure = false

  constructor (options: EmbeddedOptions, logger: FastifyBaseLogger, load: () => Promise<AedesModule>) {
    this.#options = { ...options }
    this.#logger = logger
    this.#load = load
  }

  async start (): Promise<void> {
    if (this.#closing !== undefined) throw new FST_MQTT_EMBEDDED('the embedded broker is closed')
    this.#starting ??= this.#start()
    return this.#starting
  }

  attach (server: HttpServer): void {
    const { ws } = this.#options
    if (ws === undefined || this.#closing !== undefined) return
    this.#websockets.push(acceptWebSocket(
      server, ws, (stream, request) => { this.#take(stream, request) }, request => this.#mayOpen(request)
    ))
  }

  detach (): void {
    for (const listener of this.#websockets.splice(0)) listener.close()
  }

  connect (): Duplex {
    const [application, broker] = duplexPair()
    if (this.#running) {
      this.#trusted.add(broker)
      this.#take(broker)
    } else {
      application.destroy(new FST_MQTT_EMBEDDED('the embedded broker is not running'))
    }
    return application
  }

  address (): { host: string, port: number } | null {
    const address = this.#server?.address() as AddressInfo | null | undefined
    return address == null ? null : { host: address.address, port: address.port }
  }

  async close (): Promise<void> {
    this.#closing ??= this.#close()
    return this.#closing
  }

  get #running (): boolean {
    return this.#aedes !== undefined && !this.#aedes.closed
  }

  async #start (): Promise<void> {
    const { Aedes } = await this.#load().catch((error: unknown) => { throw explainMissing(error) })
    try {
      this.#aedes = await Aedes.createBroker(createPermissions({
        options: this.#options,
        logger: this.#logger,
        isTrusted: client => this.#trusted.has(client.conn),
        forget: (client, filter) => { this.#forget(client, [filter]) }
      }))
      this.#listenTo(this.#aedes)
      if (this.#options.port !== undefined) await this.#listen(this.#options.port, this.#options.host ?? DEFAULT_HOST)
    } catch (error) {
      await closeAedes(this.#aedes)
      throw new FST_MQTT_EMBEDDED(`the embedded broker could not be started: ${(error as Error).message}`, { cause: error })
    }
  }

  #listenTo (aedes: Aedes): void {
    const logger = this.#logger
    const note = (client: Client | null, error: Error): void => {
      logger.debug({ clientId: client?.id, reason: error.message }, 'embedded broker: a client failed')
    }
    aedes.on('clientError', note)
    aedes.on('connectionError', note)
    // Not in aedes' types; unheard it would end the process.
    ;(aedes as NodeJS.EventEmitter).on('error', (error: Error) => { logger.error({ err: error }, 'embedded broker failed') })
    aedes.on('subscribe', (subscriptions, client) => { this.#forget(client, refusedFilters(subscriptions)) })
  }

  async #listen (port: number, host: string): Promise<void> {
    const server = createServer({ noDelay: true }, (socket: Socket) => { this.#take(socket) })
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject)
      server.listen(port, host, () => {
        server.removeListener('error', reject)
        resolve()
      })
    })
    server.on('error', error => { this.#logger.error({ err: error }, 'embedded broker: TCP failed') })
    this.#server = server
  }

  #take (stream: Duplex, request?: IncomingMessage): void {
    // Before aedes has its own listener, and after it has taken it away.
    stream.on('error', () => {})
    if (this.#aedes === undefined || !this.#running) {
      stream.destroy()
      return
    }
    this.#streams.add(stream)
    stream.once('close', () => { this.#streams.delete(stream) })
    this.#aedes.handle(stream, request)
  }

  /**
   * Without `authenticate` only this machine is let in, as with TCP, and no page of another site in its browser:
   * WebSockets know no same-origin policy.
   */
  #mayOpen (request: IncomingMessage): boolean {
    if (this.#options.authenticate !== undefined) return true
    const { origin } = request.headers
    if (isLoopback(request.socket.localAddress ?? '') && (origin === undefined || isLoopback(hostnameOf(origin)))) return true
    if (!this.#warnedOfExposure) {
      this.#warnedOfExposure = true
      this.#logger.warn(
        { origin }, 'embedded broker: a WebSocket from outside was refused; give embedded.authenticate to let clients in'
      )
    }
    return false
  }

  #forget (client: Client, filters: string[]): void {
    if (client.clean || filters.length === 0) return
    const { persistence } = this.#aedes as AedesInternals
    persistence?.removeSubscriptions?.(client, filters)
      .catch((error: unknown) => { this.#logger.error({ err: error }, 'embedded broker: a refused subscription is still stored') })
  }

  async #close (): Promise<void> {
    await this.#starting?.catch(() => {})
    this.detach()
    const closed = closeServer(this.#server)
    if (this.#running) await settle(this.#aedes as AedesInternals)
    await Promise.race([closeAedes(this.#aedes), delay(CLOSE_GRACE, undefined, { ref: false })])
    for (const stream of this.#streams) stream.destroy()
    await closed
  }
}

/** Waits, for a while, until what the broker has acknowledged is also written to its subscribers. */
async function settle ({ mq }: AedesInternals): Promise<void> {
  const deadline = Date.now() + CLOSE_GRACE
  // A packet that was just read passes through a few turns before it is counted here.
  for (let idle = 0; idle < 3 && Date.now() < deadline;) {
    await delay(1)
    idle = (mq?.current ?? 0) === 0 && (mq?.length ?? 0) === 0 ? idle + 1 : 0
  }
}

async function closeAedes (aedes: Aedes | undefined): Promise<void> {
  return new Promise(resolve => {
    if (aedes === undefined) resolve()
    else aedes.close(() => { resolve() })
  })
}

async function closeServer (server: Server | undefined): Promise<void> {
  return new Promise(resolve => {
    if (server === undefined) resolve()
    else server.close(() => { resolve() })
  })
}

function explainMissing (error: unknown): Error {
  const { code, message } = error as NodeJS.ErrnoException
  const isMissing = code === 'ERR_MODULE_NOT_FOUND' && message.includes("'aedes'")
  return new FST_MQTT_EMBEDDED(
    isMissing ? 'option embedded needs the package aedes: npm install aedes' : `aedes could not be loaded: ${message}`,
    { cause: error }
  )
}

function hostnameOf (origin: string): string {
  return URL.canParse(origin) ? new URL(origin).hostname : ''
}
