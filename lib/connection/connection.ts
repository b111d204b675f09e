import { MqttClient, type IClientOptions, type IConnackPacket } from 'mqtt'
import { FST_MQTT_TIMEOUT, type MqttError } from '../errors.ts'
import type { ConnectionState } from '../types/index.ts'
import type { ProtocolVersion } from '../wire/packet.ts'
import { maximumPublishSize, Tap, type ConnectInfo, type TapHandlers } from '../wire/tap.ts'
import { Backoff, type BackoffOptions } from './backoff.ts'
import { connectRefused, disconnectedBy, isLastingRefusal, isVersionRefusal } from './connect-error.ts'
import { LowIds } from './low-ids.ts'
import { ProtocolChoice } from './protocol-choice.ts'
import { TakeoverWatch } from './takeover.ts'
import type { OpenTransport } from './transport.ts'

/** A will, as CONNECT carries it: the topic is absolute. */
export interface Will {
  topic: string
  payload: Buffer
  qos: 0 | 1 | 2
  retain: boolean
  properties?: NonNullable<NonNullable<IClientOptions['will']>['properties']>
}

/** What CONNECT says that may differ each time. */
export interface ConnectDetails {
  username?: string | undefined
  password?: string | undefined
  will?: Will | undefined
}

export interface ConnectionOptions {
  open: OpenTransport
  clientId: string
  protocolVersion: ProtocolVersion | 'auto'
  keepalive: number
  connectTimeout: number
  session: { clean: boolean, expiry?: number | undefined }
  reconnect: BackoffOptions
  maxPayload: number
  /** Told to the broker as Receive Maximum: more than the inbox can take is not wanted. */
  receiveMaximum: number
  /** Asked before every CONNECT. */
  details: () => ConnectDetails | Promise<ConnectDetails>
  /** Further mqtt.js options of the user. */
  client: Partial<IClientOptions>
}

/** What happens on a connection. `Tap`s are given so that everything can be tied to its epoch. */
export interface ConnectionEvents extends Omit<TapHandlers, 'onConnack' | 'onRefused'> {
  /** CONNACK has come; packets may be written. Called before any packet that follows it is read. */
  onConnected (tap: Tap, info: ConnectInfo): void
  /** mqtt.js knows of the connection too: SUBSCRIBE can be sent. */
  onReady (tap: Tap, info: ConnectInfo): void
  /** A connection that was up is gone. */
  onDisconnected (tap: Tap, error: Error | undefined): void
  /** An attempt has failed, or the broker has refused it. */
  onFailed (error: Error): void
  onState (state: ConnectionState): void
}

/**
 * The connection to the broker, made again for as long as it is not closed. mqtt.js speaks CONNECT, AUTH, PINGREQ,
 * SUBSCRIBE and DISCONNECT through a Tap; it never reconnects by itself, so that credentials, will and version can be
 * asked for before each CONNECT.
 */
export class Connection {
  readonly client: MqttClient
  state: ConnectionState = 'idle'
  since = Date.now()
  lastError: { code: string, message: string } | undefined
  reconnects = 0
  /** A broker has accepted a connection of this process. */
  everConnected = false
  readonly #options: ConnectionOptions
  readonly #events: ConnectionEvents
  readonly #protocol: ProtocolChoice
  readonly #backoff: Backoff
  readonly #takeover: TakeoverWatch
  #tap: Tap | undefined
  #connectedAt = 0
  /** Nothing connects any more. */
  #ending = false
  /** Why the current attempt or connection ended, as far as it is known. */
  #cause: Error | undefined
  #refusal: number | undefined
  #timer: NodeJS.Timeout | undefined

  constructor (options: ConnectionOptions, events: ConnectionEvents) {
    this.#options = options
    this.#events = events
    this.#protocol = new ProtocolChoice(options.protocolVersion)
    this.#backoff = new Backoff(options.reconnect)
    this.#takeover = new TakeoverWatch(options.clientId)
    this.client = new MqttClient(() => this.#openTap(), {
      ...options.client,
      manualConnect: true,
      reconnectPeriod: 0,
      resubscribe: false,
      reschedulePings: false,
      timerVariant: 'native',
      log: noop,
      messageIdProvider: new LowIds(),
      clientId: options.clientId,
      keepalive: options.keepalive,
      connectTimeout: options.connectTimeout,
      clean: options.session.clean,
      // mqtt.js reads this one in its constructor only.
      properties: { ...options.client.properties, receiveMaximum: options.receiveMaximum }
    })
    this.client.on('error', error => this.#clientFailed(error))
    this.client.on('close', () => this.#ended())
    this.client.on('disconnect', packet => { this.#cause = disconnectedBy(packet.reasonCode ?? 0) })
    this.client.on('connect', () => {
      const tap = this.#tap
      if (tap?.info !== undefined && !tap.destroyed) this.#events.onReady(tap, tap.info)
    })
    this.client.on('packetreceive', packet => { if (packet.cmd === 'connack') this.#keepAliveOf(packet) })
  }

  /** The version of this connection, or the one that the next attempt will ask for. */
  get version (): ProtocolVersion {
    return this.#protocol.version
  }

  /** True while there is a connection, also while closing drains through it. */
  get connected (): boolean {
    return this.#tap?.info !== undefined && !this.#tap.destroyed
  }

  /** Starts connecting, and goes on until `close`. Returns at once. */
  start (): void {
    if (this.state !== 'idle') return
    this.#enter('connecting')
    void this.#attempt()
  }

  /** The application is closing: what is left goes through the connection yet, made anew if need be. */
  announceClose (): void {
    this.#enter('closing')
  }

  /**
   * Sends DISCONNECT, if connected, behind everything written so far and waits until the socket has ended,
   * `timeout` milliseconds at most. Nothing connects afterwards.
   */
  async close (timeout: number): Promise<void> {
    if (this.#ending) return
    this.#ending = true
    this.#enter('closing')
    clearTimeout(this.#timer)
    const tap = this.#tap
    if (tap !== undefined && !tap.destroyed) {
      const closed = new Promise<void>(resolve => { tap.once('close', resolve) })
      if (tap.info === undefined) tap.destroy()
      else tap.disconnect()
      const timer = setTimeout(() => tap.destroy(), Math.max(timeout, 0))
      await closed
      clearTimeout(timer)
    }
    // Only stops mqtt.js' timers: the socket is gone.
    if (this.client.stream !== undefined) this.client.end(true)
    this.#enter('closed')
  }

  #enter (state: ConnectionState): void {
    if (this.state === state || this.state === 'closed') return
    if (this.state === 'closing' && state !== 'closed') return
    this.state = state
    this.since = Date.now()
    this.#events.onState(state)
  }

  async #attempt (): Promise<void> {
    this.#cause = undefined
    this.#refusal = undefined
    let details: ConnectDetails
    try {
      details = await this.#details()
    } catch (error) {
      this.#failed(asError(error, 'credentials() or will()'))
      return
    }
    if (this.#ending) return
    this.#configure(details)
    try {
      this.client.connect()
    } catch (error) {
      // A transport that cannot even be opened, such as a certificate file that is not there.
      this.#failed(error as Error)
    }
  }

  /** `credentials` and `will` may hang as any network call may. */
  async #details (): Promise<ConnectDetails> {
    let timer: NodeJS.Timeout | undefined
    const late = new Promise<never>((_resolve, reject) => {
      timer = setTimeout(() => reject(FST_MQTT_TIMEOUT('credentials() or will() did not settle within connectTimeout')), this.#options.connectTimeout).unref()
    })
    try {
      return await Promise.race([this.#options.details(), late])
    } finally {
      clearTimeout(timer)
    }
  }

  #configure ({ username, password, will }: ConnectDetails): void {
    const { version } = this.#protocol
    const { session, maxPayload, receiveMaximum } = this.#options
    const { options } = this.client
    options.protocolVersion = version
    options.keepalive = this.#options.keepalive
    options.protocolId = version === 3 ? 'MQIsdp' : 'MQTT'
    const properties = this.#options.client.properties
    if (version === 5) {
      options.properties = {
        ...properties,
        receiveMaximum,
        maximumPacketSize: maximumPublishSize(maxPayload),
        ...(!session.clean && { sessionExpiryInterval: session.expiry ?? 0xffffffff })
      }
    } else {
      delete options.properties
    }
    set(options, 'username', username)
    set(options, 'password', password)
    set(options, 'will', will === undefined ? undefined : withoutProperties(will, version))
  }

  /**
   * The broker's Server Keep Alive has to be used [MQTT-3.2.2-21]. mqtt.js does so only in place of a keepalive of its own,
   * which 0 is none.
   */
  #keepAliveOf ({ properties }: IConnackPacket): void {
    if (this.#options.keepalive === 0) this.client.options.keepalive = properties?.serverKeepAlive ?? 0
  }

  /** mqtt.js calls this for each connection. */
  #openTap (): Tap {
    const events = this.#events
    const { version } = this.#protocol
    const { clean, expiry } = this.#options.session
    const tap = new Tap(this.#options.open(version), {
      version,
      clean,
      ephemeral: clean || (version === 5 && expiry === 0),
      maxPayload: this.#options.maxPayload,
      handlers: {
        onConnack: (own, info) => this.#connected(own, info),
        onRefused: (_own, code) => { this.#refusal = code; this.#cause = connectRefused(code) },
        onPublish: (own, publish) => events.onPublish(own, publish),
        onOversize: (own, oversize) => events.onOversize(own, oversize),
        onRelease: (own, id) => events.onRelease(own, id),
        onAck: (own, type, id, reasonCode) => events.onAck(own, type, id, reasonCode),
        onDrain: own => events.onDrain(own)
      }
    })
    tap.on('error', error => { this.#cause ??= withoutCertificate(error) })
    this.#tap = tap
    return tap
  }

  #connected (tap: Tap, info: ConnectInfo): void {
    if (this.#ending) {
      tap.destroy()
      return
    }
    this.#connectedAt = performance.now()
    this.#protocol.succeeded()
    if (this.everConnected) this.reconnects++
    this.everConnected = true
    this.lastError = undefined
    this.#enter('connected')
    this.#events.onConnected(tap, info)
  }

  #clientFailed (error: Error): void {
    this.#cause ??= timeout(error) ?? error
    // mqtt.js reads on after a parse error; nothing that follows one can be trusted.
    this.#tap?.destroy()
  }

  /** The socket of an attempt or a connection is gone. */
  #ended (): void {
    const tap = this.#tap
    if (tap === undefined) return
    this.#tap = undefined
    if (tap.info !== undefined) {
      const uptime = performance.now() - this.#connectedAt
      this.#backoff.ended(uptime)
      this.#cause = this.#takeover.ended(uptime, this.#cause) ?? this.#cause
      this.#events.onDisconnected(tap, this.#cause)
    }
    if (this.#ending) return
    const refusal = this.#refusal
    const versionRefused = refusal !== undefined && isVersionRefusal(refusal)
    const silent = tap.info === undefined && refusal === undefined && isHangUp(this.#cause)
    if ((versionRefused || silent) && this.#protocol.refused(versionRefused)) {
      void this.#attempt()
      return
    }
    this.#failed(this.#cause, refusal)
  }

  #failed (cause: Error | undefined, refusal?: number): void {
    const error = cause ?? Object.assign(new Error('The broker closed the connection'), { code: 'ECONNRESET' })
    this.lastError = { code: (error as MqttError).code ?? error.name, message: error.message }
    if (this.#ending) return
    const lasting = refusal !== undefined && (isLastingRefusal(refusal) || (isVersionRefusal(refusal) && !this.#protocol.auto))
    this.#enter(lasting ? 'refused' : this.everConnected ? 'reconnecting' : 'connecting')
    this.#events.onFailed(error)
    const wait = lasting ? this.#backoff.slow() : this.#backoff.next()
    this.#timer = setTimeout(() => { void this.#attempt() }, wait)
  }
}

/** mqtt.js tells these by their text alone. */
function timeout (error: Error): Error | undefined {
  switch (error.message) {
    case 'connack timeout': return FST_MQTT_TIMEOUT('The broker did not answer CONNECT within connectTimeout')
    case 'Keepalive timeout': return FST_MQTT_TIMEOUT('The broker was silent for longer than keepalive allows')
    default: return undefined
  }
}

/** The connection came up and was ended before CONNACK, without a word. */
function isHangUp (cause: Error | undefined): boolean {
  return cause === undefined || ['ECONNRESET', 'EPIPE'].includes((cause as MqttError).code)
}

/** Whatever a function of the user's threw. */
function asError (thrown: unknown, who: string): Error {
  return thrown instanceof Error ? thrown : Object.assign(new Error(`${who} rejected with ${typeof thrown}, not with an Error`), { code: 'ERR_UNKNOWN' })
}

/** Node hangs the peer's whole certificate, which is circular, on the error; it has no place in a log. */
function withoutCertificate (error: Error): Error {
  delete (error as { cert?: unknown }).cert
  return error
}

/** exactOptionalPropertyTypes: an option that is not there is left out, not undefined. */
function set<K extends keyof IClientOptions> (options: IClientOptions, key: K, value: IClientOptions[K] | undefined): void {
  if (value === undefined) delete options[key]
  else options[key] = value
}

function withoutProperties (will: Will, version: ProtocolVersion): Will {
  if (version === 5) return will
  const { properties, ...rest } = will
  return rest
}

function noop (): void {}
