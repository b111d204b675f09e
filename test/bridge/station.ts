import mqttPacket, { type Packet } from 'mqtt-packet'
import { Bridge, type BridgeOptions } from '../../lib/bridge/bridge.ts'
import { Outbox, type OutboxLink, type OutboxOptions } from '../../lib/outbox/outbox.ts'
import { PacketType, type ProtocolVersion } from '../../lib/wire/packet.ts'
import type { ConnectInfo } from '../../lib/wire/tap.ts'
import { waitFor } from '../support/events.ts'

/** A PUBLISH as a broker would have read it. */
export interface Received {
  readonly topic: string
  readonly payload: string
  readonly qos: number
  readonly retain: boolean
  readonly properties: Record<string, unknown> | undefined
}

/** A link that keeps a ledger of what is sent through it and acknowledges it, as a broker would. */
export class LedgerLink implements OutboxLink {
  ready = true
  readonly received: Received[] = []
  /** What is answered: false holds all answers back. */
  answers = true
  /** Reason codes of the answers, by topic. */
  readonly reasons = new Map<string, number>()
  readonly #outbox: Outbox
  #parser = mqttPacket.parser()
  #held: Array<() => void> = []

  constructor (outbox: Outbox) {
    this.#outbox = outbox
  }

  /** A new connection, which speaks this version. */
  open (version: ProtocolVersion): void {
    this.#parser = mqttPacket.parser({ protocolVersion: version })
    this.#parser.on('packet', packet => this.#onPacket(packet))
    this.#parser.on('error', error => { throw error })
  }

  send (packets: readonly Buffer[], done?: () => void): void {
    // The bytes as they are now: a broker's copy does not change when ours does.
    this.#parser.parse(Buffer.concat(packets))
    if (done !== undefined) this.#answer(done)
  }

  destroy (): void {}

  /** Sends what was held back, and goes on answering. */
  release (): void {
    this.answers = true
    for (const answer of this.#held.splice(0)) answer()
  }

  /** Resolves when so many messages have come in. */
  async until (count: number): Promise<Received[]> {
    await waitFor(() => this.received.length >= count, `${count} messages (${this.received.length} have come)`)
    return this.received
  }

  #onPacket (packet: Packet): void {
    if (packet.cmd === 'pubrel') {
      this.#answer(() => this.#outbox.acknowledge(this, PacketType.PUBCOMP, packet.messageId!, 0))
      return
    }
    if (packet.cmd !== 'publish') throw new Error(`unexpected ${packet.cmd}`)
    const { topic, payload, qos, retain, properties, messageId } = packet
    this.received.push({ topic, payload: payload.toString(), qos, retain, properties: properties as Record<string, unknown> | undefined })
    if (qos === 0) return
    const reason = this.reasons.get(topic) ?? 0
    this.#answer(() => this.#outbox.acknowledge(this, qos === 1 ? PacketType.PUBACK : PacketType.PUBREC, messageId!, reason))
  }

  #answer (answer: () => void): void {
    if (this.answers) setImmediate(answer)
    else this.#held.push(answer)
  }
}

export interface StationOptions extends Partial<Omit<BridgeOptions, 'outbox' | 'version' | 'log'>> {
  version?: ProtocolVersion
  limits?: Partial<OutboxOptions>
  /** No connection to a broker yet. */
  offline?: boolean
}

/** The main thread's side: an outbox on a link that keeps a ledger, and the bridge to it. */
export class Station {
  readonly outbox: Outbox
  readonly link: LedgerLink
  readonly bridge: Bridge
  readonly logged: Array<{ err: Error }> = []
  version: ProtocolVersion

  constructor ({ version = 5, limits, offline = false, ...options }: StationOptions = {}) {
    this.version = version
    this.outbox = new Outbox({ maxMessages: 100_000, maxBytes: 64 * 1024 * 1024, inflight: 500, ...limits })
    this.link = new LedgerLink(this.outbox)
    this.bridge = new Bridge({
      namespace: undefined,
      prefix: '',
      timeout: 30_000,
      maxBytes: 64 * 1024 * 1024,
      window: 1024 * 1024,
      routes: () => [],
      request: () => Promise.reject(new Error('nobody to ask')),
      ...options,
      outbox: this.outbox,
      version: () => this.version,
      log: { error: (details: unknown) => { this.logged.push(details as { err: Error }) } } as BridgeOptions['log']
    })
    if (!offline) this.connect()
  }

  /** @param limits what the broker says of itself besides */
  connect (limits: Partial<ConnectInfo> = {}): void {
    this.link.open(this.version)
    const info: ConnectInfo = {
      version: this.version,
      sessionPresent: false,
      receiveMaximum: 65_535,
      maximumPacketSize: 268_435_460,
      maximumQoS: 2,
      retainAvailable: true,
      subscriptionIdentifiers: true,
      ...limits
    }
    this.outbox.attach(this.link, info)
  }

  get received (): Received[] {
    return this.link.received
  }

  get topics (): string[] {
    return this.received.map(({ topic }) => topic)
  }

  async close (): Promise<void> {
    await this.bridge.close()
    this.outbox.close()
  }
}
