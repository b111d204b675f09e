import type { Socket } from 'node:net'
import mqttPacket from 'mqtt-packet'
import { payloadOf, TOPICS } from '../load/messages.ts'
import type { FloodOptions } from './protocol.ts'

/** What one write of QoS 0 holds, about. */
const BLOCK = 128 * 1024

/** How the client is to be spoken to. */
export interface Recipient {
  readonly version: 3 | 4 | 5
  /** MQTT 5: the identifier that it gave its subscription, which every message has to carry. */
  readonly subscriptionId: number | undefined
  readonly receiveMaximum: number
}

/** Sends messages without end, encoded beforehand: QoS 0 as fast as the socket takes them, QoS 1 as fast as they are acknowledged. */
export class Flood {
  sent = 0
  acknowledged = 0
  readonly #socket: Socket
  readonly #qos: 0 | 1
  /** For QoS 1 as many as the window, the first with packet id 1 and so on. */
  readonly #frames: Buffer
  readonly #count: number
  readonly #length: number
  #running = true
  #stopped: () => void = () => {}
  readonly #goOn = (): void => { setImmediate(() => this.#pour()) }

  constructor (socket: Socket, recipient: Recipient, { qos, size, window }: FloodOptions) {
    this.#socket = socket
    this.#qos = qos
    const length = frame(recipient, qos, size, 0).length
    const count = qos === 0 ? Math.max(Math.floor(BLOCK / length), 1) : Math.min(window, recipient.receiveMaximum)
    const frames = Array.from({ length: count }, (_, index) => frame(recipient, qos, size, index))
    if (frames.some(it => it.length !== length)) throw new Error('All frames must be of one length')
    this.#frames = Buffer.concat(frames)
    this.#count = count
    this.#length = length
    if (qos === 1) this.refill()
    else {
      socket.on('drain', this.#goOn)
      this.#pour()
    }
  }

  /** Nothing more is sent; resolves when what was is acknowledged. */
  async stop (): Promise<void> {
    this.#running = false
    this.#socket.off('drain', this.#goOn)
    if (this.#qos === 1 && this.acknowledged < this.sent) await new Promise<void>(resolve => { this.#stopped = resolve })
  }

  /** PUBACK. Both ends keep to the order, so an id out of turn is one that was not handled, or handled twice. */
  acknowledge (packetId: number): void {
    if (packetId !== this.acknowledged % this.#count + 1) throw new Error(`PUBACK of ${packetId} out of turn`)
    this.acknowledged++
    if (!this.#running && this.acknowledged === this.sent) this.#stopped()
  }

  /** Sends as many as were acknowledged: once for each read. */
  refill (): void {
    if (!this.#running || this.#qos === 0) return
    let room = this.#count - (this.sent - this.acknowledged)
    while (room > 0) {
      const from = this.sent % this.#count
      const count = Math.min(room, this.#count - from)
      this.#socket.write(this.#frames.subarray(from * this.#length, (from + count) * this.#length))
      this.sent += count
      room -= count
    }
  }

  /** QoS 0, until the socket is full; another turn of the event loop goes by then, so that commands are heard. */
  #pour (): void {
    let more = this.#running
    while (more) {
      more = this.#socket.write(this.#frames)
      this.sent += this.#count
    }
  }
}

function frame ({ version, subscriptionId }: Recipient, qos: 0 | 1, size: number, index: number): Buffer {
  return mqttPacket.generate({
    cmd: 'publish',
    topic: TOPICS[index % TOPICS.length]!,
    payload: payloadOf(size),
    qos,
    dup: false,
    retain: false,
    ...(qos === 1 && { messageId: index + 1 }),
    ...(version === 5 && subscriptionId !== undefined && { properties: { subscriptionIdentifier: subscriptionId } })
  }, { protocolVersion: version })
}
