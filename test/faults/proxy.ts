import net from 'node:net'
import mqttPacket, { type IPublishPacket, type Packet } from 'mqtt-packet'
import type { Owner } from '../support/folder.ts'
import { resetSocket } from '../support/reset.ts'

/** Seen from the application: `up` goes to the broker, `down` comes from it. */
export type Direction = 'up' | 'down'

/** A packet on its way through. */
export interface Passing {
  readonly direction: Direction
  readonly cmd: Packet['cmd']
  readonly messageId: number | undefined
  /** Of a PUBLISH. */
  readonly qos: 0 | 1 | 2 | undefined
  readonly dup: boolean
  /** Of a CONNACK. */
  readonly sessionPresent: boolean
  /** The how manieth of its type in its direction, over all connections; the first is 1. */
  readonly nth: number
}

/** Where to cut: asked of each packet until it says so. */
export type Cut = (packet: Passing) => 'before' | 'after' | undefined

const EMPTY = Buffer.alloc(0)
/** How often a slow link passes on what it may. */
const SLOW_TICK = 10

/** A network in front of a broker that fails in the ways networks do. */
export class Proxy {
  readonly port: number
  /** Every connection there was, in the order opened. */
  readonly connections: ProxyConnection[]
  readonly pace: Pace = { hole: false, split: false, bytesPerSecond: 0 }
  readonly #counts = new Map<string, number>()
  #cut: { rule: Cut, done: () => void } | undefined

  constructor (port: number, connections: ProxyConnection[]) {
    this.port = port
    this.connections = connections
  }

  get url (): string {
    return `mqtt://127.0.0.1:${this.port}`
  }

  get last (): ProxyConnection | undefined {
    return this.connections.at(-1)
  }

  /** Those that a CONNACK has passed through and that are not over. */
  get live (): ProxyConnection[] {
    return this.connections.filter(connection => !connection.over && connection.accepted)
  }

  /** A TCP reset on both sides of every connection. */
  reset (): void {
    for (const connection of this.connections) connection.reset()
  }

  /**
   * Accepts everything and swallows it, both ways. When it ends, what has lost bytes meanwhile is reset: the stream
   * would not be one any more.
   */
  blackHole (on: boolean): void {
    this.pace.hole = on
    if (on) return
    for (const connection of this.connections) if (connection.starved) connection.reset()
  }

  /** So many bytes a second in each direction of each connection; 0 is as fast as it goes. */
  slow (bytesPerSecond: number): void {
    this.pace.bytesPerSecond = bytesPerSecond
  }

  /** Byte by byte, each in a write of its own. */
  split (on: boolean): void {
    this.pace.split = on
  }

  /**
   * Cuts a connection right before or right after a packet, once. Before: both sides are reset, and the packet goes
   * nowhere. After: its receiver gets it and then the end of the stream, its sender a reset in place of any answer.
   * Resolves when it has happened.
   */
  cutWhen (rule: Cut): Promise<void> {
    return new Promise(resolve => { this.#cut = { rule, done: resolve } })
  }

  /** Counts a packet. */
  count (direction: Direction, cmd: string): number {
    const key = `${direction} ${cmd}`
    const nth = (this.#counts.get(key) ?? 0) + 1
    this.#counts.set(key, nth)
    return nth
  }

  /** How many of a type have passed, and a cut before a packet counts it, too. */
  counted (direction: Direction, cmd: Packet['cmd']): number {
    return this.#counts.get(`${direction} ${cmd}`) ?? 0
  }

  /** Whether this packet is the one to cut at. */
  judge (packet: Passing): 'before' | 'after' | undefined {
    const where = this.#cut?.rule(packet)
    if (where === undefined) return undefined
    const { done } = this.#cut!
    this.#cut = undefined
    done()
    return where
  }
}

interface Pace {
  hole: boolean
  split: boolean
  bytesPerSecond: number
}

/** One client's connection, and ours to the broker in its name. */
export class ProxyConnection {
  /** From 0, in the order opened. */
  readonly index: number
  /** What was passed on, packet by packet, both ways. */
  readonly log: Passing[] = []
  accepted = false
  /** Has lost bytes in a black hole. */
  starved = false
  over = false
  readonly #client: net.Socket
  readonly #broker: net.Socket

  constructor (proxy: Proxy, index: number, client: net.Socket, broker: net.Socket) {
    this.index = index
    this.#client = client
    this.#broker = broker
    const settings = { protocolVersion: 4 as 3 | 4 | 5 }
    const up = new Pipe(proxy, this, 'up', client, broker, settings)
    const down = new Pipe(proxy, this, 'down', broker, client, settings)
    client.on('data', chunk => up.push(chunk))
    broker.on('data', chunk => down.push(chunk))
    for (const [one, other] of [[client, broker], [broker, client]] as const) {
      one.on('error', () => { resetSocket(other) })
      one.on('close', () => { this.over = true; other.end() })
    }
  }

  reset (): void {
    this.over = true
    resetSocket(this.#client)
    resetSocket(this.#broker)
  }

  /** The receiver gets all that was passed on, and its end; the sender hears nothing more. */
  cutBehind (direction: Direction): void {
    this.over = true
    const [from, to] = direction === 'up' ? [this.#client, this.#broker] : [this.#broker, this.#client]
    to.end()
    resetSocket(from)
  }

  destroy (): void {
    this.#client.destroy()
    this.#broker.destroy()
  }
}

/** One direction of a connection. */
class Pipe {
  readonly #proxy: Proxy
  readonly #connection: ProxyConnection
  readonly #direction: Direction
  readonly #from: net.Socket
  readonly #to: net.Socket
  readonly #read: (raw: Buffer) => Packet | undefined
  /** The beginning of a packet that is not whole yet. Its bytes have been passed on already. */
  #part: Buffer = EMPTY
  /** What a slow or splitting link still has to pass on. */
  #queue: Buffer = EMPTY
  #pumping = false

  constructor (proxy: Proxy, connection: ProxyConnection, direction: Direction, from: net.Socket, to: net.Socket, settings: { protocolVersion: 3 | 4 | 5 }) {
    this.#proxy = proxy
    this.#connection = connection
    this.#direction = direction
    this.#from = from
    this.#to = to
    to.on('drain', () => from.resume())
    const parser = mqttPacket.parser(settings)
    let last: Packet | undefined
    parser.on('packet', packet => {
      last = packet
      if (packet.cmd === 'connect') settings.protocolVersion = packet.protocolVersion!
    })
    parser.on('error', () => {})
    this.#read = raw => {
      last = undefined
      parser.parse(raw)
      return last
    }
  }

  push (chunk: Buffer): void {
    if (this.#connection.over) return
    if (this.#proxy.pace.hole || this.#connection.starved) {
      this.#connection.starved = true
      return
    }
    const stream = this.#part.length === 0 ? chunk : Buffer.concat([this.#part, chunk])
    let passed = this.#part.length
    let start = 0
    this.#to.cork()
    for (let end = packetEnd(stream, 0); end !== undefined; end = packetEnd(stream, start)) {
      const packet = this.#passing(stream.subarray(start, end))
      const cut = packet === undefined ? undefined : this.#proxy.judge(packet)
      if (cut === 'before') {
        this.#to.uncork()
        this.#connection.reset()
        return
      }
      this.#forward(stream.subarray(Math.max(start, passed), end))
      passed = start = end
      if (packet === undefined) continue
      this.#connection.log.push(packet)
      if (packet.cmd === 'connack') this.#connection.accepted = true
      if (cut === 'after') {
        this.#to.uncork()
        this.#connection.cutBehind(this.#direction)
        return
      }
    }
    this.#part = Buffer.from(stream.subarray(start))
    this.#forward(stream.subarray(Math.max(start, passed)))
    this.#to.uncork()
  }

  #passing (raw: Buffer): Passing | undefined {
    const packet = this.#read(raw)
    if (packet === undefined) return undefined
    const { qos, dup } = packet as IPublishPacket
    return {
      direction: this.#direction,
      cmd: packet.cmd,
      messageId: packet.messageId,
      qos: packet.cmd === 'publish' ? qos : undefined,
      dup: packet.cmd === 'publish' && dup,
      sessionPresent: packet.cmd === 'connack' && packet.sessionPresent,
      nth: this.#proxy.count(this.#direction, packet.cmd)
    }
  }

  #forward (bytes: Buffer): void {
    if (bytes.length === 0) return
    const { split, bytesPerSecond } = this.#proxy.pace
    if (split || bytesPerSecond > 0 || this.#pumping) {
      this.#queue = Buffer.concat([this.#queue, bytes])
      if (!this.#pumping) void this.#pump()
      return
    }
    this.#write(bytes)
  }

  #write (bytes: Buffer): void {
    if (this.#to.writableEnded || this.#to.destroyed || this.#to.write(bytes)) return
    // A receiver that does not read holds back the sender, as TCP does.
    this.#from.pause()
  }

  async #pump (): Promise<void> {
    this.#pumping = true
    // Not before the stream is uncorked.
    await turn()
    while (this.#queue.length > 0 && !this.#connection.over) {
      const { split, bytesPerSecond } = this.#proxy.pace
      const share = bytesPerSecond > 0 ? Math.max(1, Math.round(bytesPerSecond * SLOW_TICK / 1000)) : this.#queue.length
      const count = split ? 1 : Math.min(share, this.#queue.length)
      this.#write(this.#queue.subarray(0, count))
      this.#queue = this.#queue.subarray(count)
      // Time is the fault here.
      if (bytesPerSecond > 0) await new Promise(resolve => { setTimeout(resolve, SLOW_TICK).unref() })
      else await turn()
    }
    this.#queue = EMPTY
    this.#pumping = false
  }
}

/** Starts one in front of a broker of this machine; it ends with the test. */
export async function startProxy (t: Owner, targetPort: number): Promise<Proxy> {
  const connections: ProxyConnection[] = []
  const server = net.createServer({ noDelay: true }, client => {
    const broker = net.connect({ host: '127.0.0.1', port: targetPort, noDelay: true })
    connections.push(new ProxyConnection(proxy, connections.length, client, broker))
  })
  await new Promise<void>((resolve, reject) => { server.once('error', reject).listen(0, '127.0.0.1', resolve) })
  const proxy = new Proxy((server.address() as net.AddressInfo).port, connections)
  t.after(() => {
    for (const connection of connections) connection.destroy()
    server.close()
  })
  return proxy
}

/** Resets that come every `interval` milliseconds, half to one and a half of it, each on a connection that was accepted. */
export class ResetStorm {
  resets = 0
  readonly #proxy: Proxy
  readonly #interval: number
  #timer: NodeJS.Timeout | undefined

  constructor (t: Owner, proxy: Proxy, interval: number) {
    this.#proxy = proxy
    this.#interval = interval
    t.after(() => this.stop())
  }

  start (): this {
    this.#next()
    return this
  }

  stop (): void {
    clearTimeout(this.#timer)
  }

  #next (): void {
    // Time is the fault here.
    this.#timer = setTimeout(() => {
      for (const connection of this.#proxy.live) {
        connection.reset()
        this.resets++
      }
      this.#next()
    }, this.#interval * (0.5 + Math.random()))
  }
}

/** An acknowledgement that answers nothing of its own connection. */
export interface StrayAck {
  connection: number
  cmd: string
  messageId: number
}

/**
 * Acknowledgements of the application that went through a connection on which nothing came that they answer: PUBACK
 * and PUBREC need a PUBLISH of their id and QoS, PUBCOMP a PUBREL, each one of its own.
 */
export function strayAcks (connections: readonly ProxyConnection[]): StrayAck[] {
  const stray: StrayAck[] = []
  for (const { index, log } of connections) {
    const open = new Map<string, number>()
    for (const { direction, cmd, qos, messageId } of log) {
      if (messageId === undefined) continue
      const asked = direction === 'down' ? question(cmd, qos) : undefined
      if (asked !== undefined) open.set(`${asked} ${messageId}`, (open.get(`${asked} ${messageId}`) ?? 0) + 1)
      if (direction === 'down' || (cmd !== 'puback' && cmd !== 'pubrec' && cmd !== 'pubcomp')) continue
      const left = open.get(`${cmd} ${messageId}`) ?? 0
      if (left === 0) stray.push({ connection: index, cmd, messageId })
      else open.set(`${cmd} ${messageId}`, left - 1)
    }
  }
  return stray
}

/** What a packet of the broker's is to be answered with. */
function question (cmd: string, qos: number | undefined): string | undefined {
  if (cmd === 'publish') return qos === 1 ? 'puback' : qos === 2 ? 'pubrec' : undefined
  return cmd === 'pubrel' ? 'pubcomp' : undefined
}

/** Where the packet ends that starts at `start`, when all of it is there. */
function packetEnd (stream: Buffer, start: number): number | undefined {
  let remaining = 0
  for (let p = start + 1, shift = 0; p < stream.length; p++, shift += 7) {
    const byte = stream[p]!
    remaining += (byte & 127) * 2 ** shift
    if (byte < 128) return p + 1 + remaining <= stream.length ? p + 1 + remaining : undefined
    if (shift === 21) return stream.length
  }
  return undefined
}

function turn (): Promise<void> {
  return new Promise(resolve => { setImmediate(resolve) })
}
