import net from 'node:net'
import mqttPacket, {
  type IConnackPacket, type IConnectPacket, type Packet, type IPingreqPacket, type IPublishPacket, type IPubcompPacket,
  type IPubrecPacket, type IPubackPacket, type IPubrelPacket, type ISubackPacket, type ISubscribePacket,
  type IUnsubackPacket, type IUnsubscribePacket
} from 'mqtt-packet'
import { waitFor, type WaitOptions } from '../support/events.ts'
import type { Owner } from '../support/folder.ts'
import { resetSocket } from '../support/reset.ts'

/** Nothing: the default answer; false: no answer; an object: the default answer with these fields. */
export type Answer<P> = Partial<P> | false | void
type Hook<In, Out> = (packet: In, connection: ScriptedConnection) => Answer<Out>

/** What the broker does at each packet. A hook may also write to the connection or end it, then or later. */
export interface Script {
  onConnect?: Hook<IConnectPacket, IConnackPacket>
  /** The answer is PUBACK or PUBREC, by the QoS. */
  onPublish?: Hook<IPublishPacket, IPubackPacket | IPubrecPacket>
  onPubrel?: Hook<IPubrelPacket, IPubcompPacket>
  onPubrec?: Hook<IPubrecPacket, IPubrelPacket>
  onSubscribe?: Hook<ISubscribePacket, ISubackPacket>
  onUnsubscribe?: Hook<IUnsubscribePacket, IUnsubackPacket>
  onPing?: Hook<IPingreqPacket, Packet>
}

/** A PUBLISH of the broker's. */
export interface Delivered {
  topic: string
  payload?: string | Buffer
  qos?: 0 | 1 | 2
  messageId?: number
  dup?: boolean
  retain?: boolean
  properties?: NonNullable<IPublishPacket['properties']>
}

/** A broker that does what its script says, and keeps what it was sent. */
export class ScriptedBroker {
  readonly port: number
  readonly connections: ScriptedConnection[]

  constructor (port: number, connections: ScriptedConnection[]) {
    this.port = port
    this.connections = connections
  }

  get url (): string {
    return `mqtt://127.0.0.1:${this.port}`
  }

  /** The last that was opened. */
  get last (): ScriptedConnection {
    return this.connections.at(-1)!
  }

  /** Resolves with the connection of this number, from 0, once its CONNECT has come. */
  async connection (index: number): Promise<ScriptedConnection> {
    await waitFor(() => this.connections[index]?.connect !== undefined, `CONNECT of connection ${index}`)
    return this.connections[index]!
  }
}

/** One connection, from the broker's side. */
export class ScriptedConnection {
  readonly socket: net.Socket
  /** From 0, in the order opened. */
  readonly index: number
  /** Every packet, in the order it came in. */
  readonly received: Packet[] = []
  connect: IConnectPacket | undefined
  closed = false
  /** What the client sent that is no MQTT. */
  error: Error | undefined

  constructor (socket: net.Socket, index: number, script: Script) {
    this.socket = socket
    this.index = index
    const settings = { protocolVersion: 4 as 3 | 4 | 5 }
    const parser = mqttPacket.parser(settings)
    parser.on('packet', packet => {
      this.received.push(packet)
      if (packet.cmd === 'connect') {
        this.connect = packet
        settings.protocolVersion = packet.protocolVersion!
      }
      this.#answer(packet, script)
    })
    parser.on('error', error => { this.error = error; socket.destroy() })
    socket.on('data', chunk => { if (!socket.destroyed) parser.parse(chunk) })
    socket.on('error', () => {})
    socket.on('close', () => { this.closed = true })
  }

  get version (): 3 | 4 | 5 {
    return this.connect?.protocolVersion ?? 4
  }

  /** The packets of one type so far. */
  of<C extends Packet['cmd']> (cmd: C): Array<Extract<Packet, { cmd: C }>> {
    return this.received.filter((packet): packet is Extract<Packet, { cmd: C }> => packet.cmd === cmd)
  }

  /** The payloads of what was published, as text. */
  get published (): string[] {
    return this.of('publish').map(({ payload }) => String(payload))
  }

  /** Resolves with the packets of one type once there are `count`. */
  async until<C extends Packet['cmd']> (cmd: C, count = 1, options?: WaitOptions): Promise<Array<Extract<Packet, { cmd: C }>>> {
    await waitFor(() => this.of(cmd).length >= count, `${count} ${cmd}`, options).catch((error: unknown) => {
      throw new Error(`${(error as Error).message}, ${this.of(cmd).length} came`)
    })
    return this.of(cmd)
  }

  /** Resolves when the client or the broker has ended it. */
  async end (): Promise<void> {
    await waitFor(() => this.closed, 'the end of a connection')
  }

  /** Any packets, in one write. */
  send (...packets: Packet[]): void {
    this.raw(Buffer.concat(packets.map(packet => mqttPacket.generate(packet, { protocolVersion: this.version }))))
  }

  /** Any bytes, in one write. */
  raw (bytes: Uint8Array): void {
    if (!this.socket.destroyed) this.socket.write(bytes)
  }

  /** Delivers messages, in one write. */
  deliver (...messages: Delivered[]): void {
    this.send(...messages.map(message => ({
      cmd: 'publish' as const, payload: '', qos: 0 as const, dup: false, retain: false, ...message
    })))
  }

  /** Ends it as a crash does: nothing of what was written is waited for. */
  drop (): void {
    resetSocket(this.socket)
  }

  #answer (packet: Packet, script: Script): void {
    switch (packet.cmd) {
      case 'connect':
        return this.#reply(script.onConnect?.(packet, this), {
          cmd: 'connack', sessionPresent: false, ...(packet.protocolVersion === 5 ? { reasonCode: 0 } : { returnCode: 0 })
        } as IConnackPacket)
      case 'publish': {
        const answer = script.onPublish?.(packet, this)
        if (packet.qos === 0) return
        return this.#reply(answer, { cmd: packet.qos === 1 ? 'puback' : 'pubrec', messageId: packet.messageId! })
      }
      case 'pubrec':
        return this.#reply(script.onPubrec?.(packet, this), (packet.reasonCode ?? 0) >= 0x80 ? undefined : { cmd: 'pubrel', messageId: packet.messageId! })
      case 'pubrel':
        return this.#reply(script.onPubrel?.(packet, this), { cmd: 'pubcomp', messageId: packet.messageId! })
      case 'subscribe':
        return this.#reply(script.onSubscribe?.(packet, this), { cmd: 'suback', messageId: packet.messageId!, granted: packet.subscriptions.map(({ qos }) => qos) })
      case 'unsubscribe':
        return this.#reply(script.onUnsubscribe?.(packet, this), { cmd: 'unsuback', messageId: packet.messageId!, granted: packet.unsubscriptions.map(() => 0) } as IUnsubackPacket)
      case 'pingreq':
        return this.#reply(script.onPing?.(packet, this), { cmd: 'pingresp' })
      case 'disconnect':
        this.socket.end()
        break
      // Acknowledgements of what was delivered need no answer, and nothing else comes from a client.
      case 'auth':
      case 'connack':
      case 'pingresp':
      case 'puback':
      case 'pubcomp':
      case 'suback':
      case 'unsuback':
    }
  }

  #reply (answer: Answer<Packet>, standard: Packet | undefined): void {
    if (answer === false || standard === undefined) return
    this.send({ ...standard, ...answer } as Packet)
  }
}

/** Starts one on a free port; it ends with the test. */
export async function startScriptedBroker (t: Owner, script: Script = {}): Promise<ScriptedBroker> {
  const connections: ScriptedConnection[] = []
  const server = net.createServer({ noDelay: true }, socket => { connections.push(new ScriptedConnection(socket, connections.length, script)) })
  await new Promise<void>(resolve => { server.listen(0, '127.0.0.1', resolve) })
  t.after(() => {
    for (const { socket } of connections) socket.destroy()
    server.close()
  })
  return new ScriptedBroker((server.address() as net.AddressInfo).port, connections)
}
