import type { Socket } from 'node:net'
import mqttPacket, { type IConnectPacket, type ISubscribePacket, type Packet } from 'mqtt-packet'
import { Flood } from './flood.ts'
import type { FloodOptions } from './protocol.ts'
import { Scanner } from './scanner.ts'

/** One client of the null broker. */
export class Session {
  readonly #socket: Socket
  readonly #scanner: Scanner
  #version: 3 | 4 | 5 = 4
  #receiveMaximum = 65_535
  #subscribed = false
  #subscriptionId: number | undefined
  #flood: Flood | undefined

  constructor (socket: Socket) {
    this.#socket = socket
    this.#scanner = new Scanner({
      answer: bytes => { socket.write(bytes) },
      acknowledged: id => { this.#flood?.acknowledge(id) },
      control: packet => { this.#control(packet) }
    })
    socket.setNoDelay(true)
    socket.on('data', chunk => {
      this.#scanner.push(chunk)
      this.#flood?.refill()
    })
    // A client that was killed is no reason to end.
    socket.on('error', () => {})
  }

  get published (): number { return this.#scanner.published }
  get bytes (): number { return this.#scanner.bytes }
  get sent (): number { return this.#flood?.sent ?? 0 }
  get acknowledged (): number { return this.#flood?.acknowledged ?? 0 }

  flood (options: FloodOptions): void {
    if (!this.#subscribed || this.#flood !== undefined) return
    this.#flood = new Flood(this.#socket, {
      version: this.#version, subscriptionId: this.#subscriptionId, receiveMaximum: this.#receiveMaximum
    }, options)
  }

  async stop (): Promise<void> {
    await this.#flood?.stop()
  }

  #control (bytes: Buffer): void {
    const parser = mqttPacket.parser({ protocolVersion: this.#version })
    parser.on('error', error => { throw error })
    parser.on('packet', packet => { this.#packet(packet) })
    parser.parse(bytes)
  }

  #packet (packet: Packet): void {
    if (packet.cmd === 'connect') this.#connect(packet)
    else if (packet.cmd === 'subscribe') this.#subscribe(packet)
    else if (packet.cmd === 'pingreq') this.#send({ cmd: 'pingresp' })
    else if (packet.cmd === 'disconnect') this.#socket.end()
    else throw new Error(`The null broker knows no ${packet.cmd}`)
  }

  #connect ({ protocolVersion, properties }: IConnectPacket): void {
    this.#version = protocolVersion ?? 4
    this.#receiveMaximum = properties?.receiveMaximum ?? 65_535
    this.#send({ cmd: 'connack', sessionPresent: false, ...(this.#version === 5 ? { reasonCode: 0 } : { returnCode: 0 }) })
  }

  #subscribe ({ messageId, subscriptions, properties }: ISubscribePacket): void {
    this.#subscribed = true
    // The types allow a list, for PUBLISH; SUBSCRIBE has one.
    this.#subscriptionId = properties?.subscriptionIdentifier
    this.#send({ cmd: 'suback', messageId: messageId!, granted: subscriptions.map(({ qos }) => qos) })
  }

  #send (packet: Packet): void {
    this.#socket.write(mqttPacket.generate(packet, { protocolVersion: this.#version }))
  }
}
