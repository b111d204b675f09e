import { Duplex } from 'node:stream'
import mqttPacket from 'mqtt-packet'
import { ackId, ackReasonCode } from './acks.ts'
import { checkControl } from './control.ts'
import { decodePublish, type Publish } from './decode.ts'
import { Framer } from './framer.ts'
import { MalformedPacket, MalformedReason } from './malformed.ts'
import { PacketType, type ProtocolVersion, type QoS } from './packet.ts'

/** The lowest packet identifier that is ours; mqtt.js keeps to those below, so the two never meet. */
export const FIRST_OWN_ID = 0x8000

/** What a broker said about itself in CONNACK (MQTT 5 section 3.2.2.3). */
export interface ConnectInfo {
  readonly version: ProtocolVersion
  readonly sessionPresent: boolean
  readonly receiveMaximum: number
  readonly maximumPacketSize: number
  readonly maximumQoS: QoS
  readonly retainAvailable: boolean
  readonly subscriptionIdentifiers: boolean
}

/** A PUBLISH whose payload is over `maxPayload`. */
export interface Oversize {
  /** Without its payload. */
  readonly publish: Publish
  /** How large the payload is. */
  readonly bytes: number
}

/** Where a tap delivers what it takes off the wire. Each is called synchronously, in the order of the stream. */
export interface TapHandlers {
  /** CONNACK with success: from here on packets may be written. */
  onConnack (tap: Tap, info: ConnectInfo): void
  /** CONNACK with a refusal. `code` as in the packet: 3.1.1 return code or MQTT 5 reason code. */
  onRefused (tap: Tap, code: number): void
  onPublish (tap: Tap, publish: Publish): void
  onOversize (tap: Tap, oversize: Oversize): void
  /** PUBREL from the broker. */
  onRelease (tap: Tap, packetId: number): void
  /** PUBACK, PUBREC or PUBCOMP for one of our own ids. */
  onAck (tap: Tap, type: number, packetId: number, reasonCode: number): void
  /** The socket has room again. */
  onDrain (tap: Tap): void
}

/** Above this many bytes in the socket nothing more is handed to it, so that they stay countable and replayable. */
const SOCKET_HIGH_WATER = 256 * 1024
/** CONNACK, SUBACK, AUTH and the like: what mqtt.js gets may be this large. */
const MAX_CONTROL_PACKET = 1024 * 1024
/** What a PUBLISH may hold besides its payload: topic, packet id and properties. */
const PUBLISH_OVERHEAD = 128 * 1024

/** So long, in milliseconds, the other side may take to end the connection behind a DISCONNECT. */
const FAREWELL_TIMEOUT = 5_000

const EMPTY = Buffer.alloc(0)
const PINGREQ = 0xc0
const PINGRESP = Buffer.from([0xd0, 0])
const DISCONNECT = Buffer.from([0xe0, 0])

/** The largest PUBLISH that the framer lets through for a given `maxPayload`; told to MQTT 5 brokers. */
export function maximumPublishSize (maxPayload: number): number {
  return maxPayload + PUBLISH_OVERHEAD
}

/**
 * The Duplex that mqtt.js gets instead of the socket. It takes PUBLISH and its acknowledgements off the stream and
 * passes every other packet on whole. One tap is one connection is one epoch: an acknowledgement that belongs to a
 * connection is written to its tap, and dies with it.
 */
export class Tap extends Duplex {
  readonly socket: Duplex
  readonly version: ProtocolVersion
  /** The session ends with the connection. */
  readonly ephemeral: boolean
  /** CONNECT asked for a new session. */
  readonly #clean: boolean
  /** Set by a successful CONNACK. */
  info: ConnectInfo | undefined
  /** Messages that a kept session has brought again: answers to us lie behind them. */
  redelivered = 0
  readonly #handlers: TapHandlers
  readonly #framer: Framer
  readonly #maxPayload: number
  #held = false
  /** A PINGREQ of mqtt.js is unanswered. */
  #pinging = false
  #hungUp = false
  #farewell: Error | undefined
  #farewellTimer: NodeJS.Timeout | undefined

  constructor (socket: Duplex, options: { version: ProtocolVersion, clean: boolean, ephemeral: boolean, maxPayload: number, handlers: TapHandlers }) {
    super({ autoDestroy: true, emitClose: true })
    this.socket = socket
    this.version = options.version
    this.#clean = options.clean
    this.ephemeral = options.ephemeral
    this.#handlers = options.handlers
    this.#maxPayload = options.maxPayload
    this.#framer = new Framer({
      onPacket: (buffer, start, bodyStart, end) => this.#packet(buffer, start, bodyStart, end),
      onOversize: (head, bodyStart, remainingLength) => this.#oversize(head, bodyStart, remainingLength)
    }, { maxPublish: maximumPublishSize(options.maxPayload), maxControl: MAX_CONTROL_PACKET })
    socket.on('data', (chunk: Buffer) => this.#read(chunk))
    socket.on('drain', () => this.#handlers.onDrain(this))
    socket.on('error', error => this.#hangUp(error))
    socket.on('close', () => this.#hangUp())
    socket.on('end', () => this.#hangUp())
  }

  /** True while packets may be written and the socket has room for them. */
  get ready (): boolean {
    return this.info !== undefined && !this.socket.writableEnded && !this.destroyed && this.socket.writableLength < SOCKET_HIGH_WATER
  }

  /**
   * Writes whole packets in one synchronous block, so that they cannot come between the parts of one of mqtt.js'.
   * `done` is called when the last is in the kernel's hands, or the socket is gone.
   */
  send (packets: readonly Buffer[], done?: () => void): void {
    const { socket } = this
    if (socket.writableEnded || socket.destroyed) {
      if (done !== undefined) queueMicrotask(done)
      return
    }
    // What mqtt.js has written in this tick is still corked: a SUBSCRIBE must not be overtaken by the publish it was for.
    while (this.writableCorked > 0) this.uncork()
    const last = packets.length - 1
    if (last > 0) socket.cork()
    for (let i = 0; i < last; i++) socket.write(packets[i])
    if (done === undefined) socket.write(packets[last])
    else socket.write(packets[last], done)
    if (last > 0) socket.uncork()
  }

  /** True when the other side, or the network, ended the connection rather than we. */
  get hungUp (): boolean {
    return this.#hungUp
  }

  /** Stops reading from the socket: the inbox is full. */
  hold (): void {
    if (this.#held) return
    this.#held = true
    this.socket.pause()
    // Its answer may lie behind what is not read now.
    if (this.#pinging) this.#pong()
  }

  /** Reads on after `hold`. */
  unhold (): void {
    if (!this.#held) return
    this.#held = false
    if (!this.destroyed) this.socket.resume()
  }

  /** Sends DISCONNECT behind everything written so far and ends the socket; `why` is told as the cause of its end. */
  disconnect (why?: Error): void {
    if (this.destroyed || this.socket.writableEnded) return
    this.#farewell = why
    this.socket.end(DISCONNECT)
    // Without keepalive nobody else would notice that it does not.
    this.#farewellTimer = setTimeout(() => this.destroy(why), FAREWELL_TIMEOUT).unref()
    // What the broker still sends is read and thrown away, so that the socket can end.
    this.#framer.stop()
    this.unhold()
  }

  #read (chunk: Buffer): void {
    // Whatever comes shows that the link is alive. The answer itself may stand behind all that the broker has to send.
    if (this.#pinging) this.#pong()
    try {
      this.#framer.push(chunk)
    } catch (error) {
      // Nothing more is read from a stream that has lost its framing: bytes of a payload must never become packets.
      this.destroy(error as Error)
    }
  }

  #packet (buffer: Buffer, start: number, bodyStart: number, end: number): void {
    const type = buffer[start]! >> 4
    if (this.info === undefined) {
      this.#beforeConnack(type, buffer, start, bodyStart, end)
      return
    }
    switch (type) {
      case PacketType.PUBLISH: {
        const publish = decodePublish(buffer, start, bodyStart, end, this.version)
        if (publish.dup) this.redelivered++
        if (publish.payload.length > this.#maxPayload) {
          const bytes = publish.payload.length
          publish.payload = EMPTY
          this.#handlers.onOversize(this, { publish, bytes })
        } else {
          this.#handlers.onPublish(this, publish)
        }
        return
      }
      case PacketType.PUBACK:
      case PacketType.PUBREC:
      case PacketType.PUBCOMP: {
        const id = ackId(buffer, bodyStart, end, this.version)
        if (id < FIRST_OWN_ID) break
        this.#handlers.onAck(this, type, id, ackReasonCode(buffer, bodyStart, end))
        return
      }
      case PacketType.PUBREL:
        // mqtt.js never saw the PUBLISH, so the release is never its own.
        this.#handlers.onRelease(this, ackId(buffer, bodyStart, end, this.version))
        return
      case PacketType.PINGRESP:
        checkControl(type, buffer, bodyStart, end, this.version)
        // Answered at its first byte, if not before. mqtt.js counts from the answer to the next ping: a second one would put that off.
        return
      case PacketType.DISCONNECT:
        checkControl(type, buffer, bodyStart, end, this.version)
        this.#farewellOf(buffer.subarray(start, end))
        return
      case PacketType.CONNECT:
      case PacketType.CONNACK:
      case PacketType.SUBSCRIBE:
      case PacketType.UNSUBSCRIBE:
      case PacketType.PINGREQ:
        throw new MalformedPacket(`A broker must not send packet type ${type} here`, MalformedReason.PROTOCOL_ERROR)
    }
    if (type >= PacketType.SUBACK) checkControl(type, buffer, bodyStart, end, this.version)
    this.push(buffer.subarray(start, end))
  }

  /** The broker's last word: nothing is read behind it, and mqtt.js gets it before the end. */
  #farewellOf (disconnect: Buffer): void {
    this.push(disconnect)
    this.#framer.stop()
    setImmediate(() => this.#hangUp())
  }

  #beforeConnack (type: number, buffer: Buffer, start: number, bodyStart: number, end: number): void {
    if (type === PacketType.CONNACK) {
      // Read here rather than from mqtt.js: a PUBLISH of a kept session may follow in the same segment,
      // and the inbox must know by then whether the session was kept.
      if (end - bodyStart < 2) throw new MalformedPacket('CONNACK is too short')
      const code = buffer[bodyStart + 1]!
      if (code !== 0) this.#handlers.onRefused(this, code)
      else this.#connack(buffer.subarray(start, end), (buffer[bodyStart]! & 1) === 1)
      if (this.destroyed) return
    } else if (type !== PacketType.AUTH && type !== PacketType.DISCONNECT) {
      throw new MalformedPacket(`A broker must not send packet type ${type} before CONNACK`, MalformedReason.PROTOCOL_ERROR)
    } else {
      checkControl(type, buffer, bodyStart, end, this.version)
      if (type === PacketType.DISCONNECT) {
        this.#farewellOf(buffer.subarray(start, end))
        return
      }
    }
    this.push(buffer.subarray(start, end))
  }

  #connack (packet: Buffer, sessionPresent: boolean): void {
    // MQTT 5 section 3.2.2.1.1: whose subscriptions and exchanges it has, nobody knows.
    if (sessionPresent && this.#clean) throw new MalformedPacket('CONNACK with a session, although CONNECT asked for a new one', MalformedReason.PROTOCOL_ERROR)
    const properties = this.version === 5 ? connackProperties(packet) : {}
    this.info = {
      version: this.version,
      sessionPresent,
      receiveMaximum: within(properties.receiveMaximum, 1, 65_535, 65_535),
      maximumPacketSize: within(properties.maximumPacketSize, 1, 0xffffffff, Infinity),
      maximumQoS: within(properties.maximumQoS, 0, 1, 2) as QoS,
      retainAvailable: properties.retainAvailable ?? true,
      subscriptionIdentifiers: this.version === 5 && (properties.subscriptionIdentifiersAvailable ?? true)
    }
    this.#handlers.onConnack(this, this.info)
  }

  #oversize (head: Buffer, bodyStart: number, remainingLength: number): void {
    if (this.info === undefined) throw new MalformedPacket('A broker must not send PUBLISH before CONNACK', MalformedReason.PROTOCOL_ERROR)
    // Read in the layout of 3.1.1: the head ends before any properties.
    const publish = decodePublish(head, 0, bodyStart, head.length, 4)
    this.#handlers.onOversize(this, { publish, bytes: remainingLength - (head.length - bodyStart) })
  }

  /** The broker, or the network, has ended the connection. */
  #hangUp (error?: Error): void {
    if (!this.destroyed && !this.socket.writableEnded) this.#hungUp = true
    this.destroy(error ?? this.#farewell)
  }

  /** Answers mqtt.js' PINGREQ: the broker has been heard of since, or we do not read, and its silence proves nothing. */
  #pong (): void {
    this.#pinging = false
    this.push(PINGRESP)
  }

  #pinged (): void {
    this.#pinging = true
    if (this.#held) this.#pong()
  }

  override _read (): void {}

  override _write (chunk: Buffer, _encoding: BufferEncoding, callback: (error?: Error | null) => void): void {
    if (isPingreq(chunk)) this.#pinged()
    this.socket.write(chunk, callback)
  }

  override _writev (chunks: Array<{ chunk: Buffer, encoding: BufferEncoding }>, callback: (error?: Error | null) => void): void {
    const { socket } = this
    const last = chunks.length - 1
    socket.cork()
    for (let i = 0; i <= last; i++) {
      const { chunk } = chunks[i]!
      if (isPingreq(chunk)) this.#pinged()
      socket.write(chunk, i === last ? callback : undefined)
    }
    socket.uncork()
  }

  override _final (callback: (error?: Error | null) => void): void {
    this.socket.end(() => callback())
  }

  override _destroy (error: Error | null, callback: (error?: Error | null) => void): void {
    clearTimeout(this.#farewellTimer)
    this.#framer.stop()
    this.socket.destroy()
    callback(error)
  }
}

function isPingreq (chunk: Buffer): boolean {
  return chunk.length === 2 && chunk[0] === PINGREQ
}

interface ConnackProperties {
  receiveMaximum?: number
  maximumPacketSize?: number
  maximumQoS?: number
  retainAvailable?: boolean
  subscriptionIdentifiersAvailable?: boolean
}

/** A property that is there once, if at all, and in its range (MQTT 5 section 3.2.2.3). */
function within (value: unknown, min: number, max: number, missing: number): number {
  if (value === undefined) return missing
  if (typeof value !== 'number' || value < min || value > max) throw new MalformedPacket('CONNACK with a property out of range', MalformedReason.PROTOCOL_ERROR)
  return value
}

function connackProperties (packet: Buffer): ConnackProperties {
  let properties: ConnackProperties = {}
  const parser = mqttPacket.parser({ protocolVersion: 5 })
  parser.on('packet', parsed => { if (parsed.cmd === 'connack') properties = (parsed.properties ?? {}) as ConnackProperties })
  parser.on('error', error => { throw new MalformedPacket(`CONNACK: ${error.message}`) })
  parser.parse(packet)
  return properties
}
