import { encodeAck } from '../wire/acks.ts'
import { MalformedPacket, MalformedReason } from '../wire/malformed.ts'
import { PacketType, type QoS } from '../wire/packet.ts'
import { FIRST_OWN_ID, type ConnectInfo } from '../wire/tap.ts'
import { Clearing } from './clearing.ts'
import type { Delivery } from './delivery.ts'
import { refused, sessionLost } from './failures.ts'
import type { Gather } from './gather.ts'
import { PacketIds } from './packet-ids.ts'
import { Suspects } from '../suspects.ts'
import { MAX_WINDOW, Window } from './window.ts'

/** What the broker's answer means for the publish. */
export type Verdict = { settled: false } | { settled: true, error: Error | null, reasonCode: number }

const GOES_ON: Verdict = { settled: false }
const CONFIRMED: Verdict = { settled: true, error: null, reasonCode: 0 }
/** PUBCOMP: Packet Identifier not found. */
const NOT_FOUND = 0x92

/**
 * QoS 1 and 2 publishes that the broker may know of: their identifiers, the broker's window, what is sent again on the
 * next connection, and which of them it hangs up on.
 */
export class Inflight {
  readonly #limit: number
  // An id of QoS 1 never meets an exchange of QoS 2 that is still open, since each has its own half.
  readonly #ids1 = new PacketIds(FIRST_OWN_ID, MAX_WINDOW + 1)
  readonly #ids2 = new PacketIds(FIRST_OWN_ID + MAX_WINDOW + 1, MAX_WINDOW + 1)
  readonly #clearing = new Clearing(this.#ids2)
  readonly #window = new Window()
  readonly #suspects: Suspects<Delivery>
  /** In the order first sent. */
  readonly #deliveries = new Map<number, Delivery>()
  /** Of those, what is still to be sent again on this connection, before anything new. */
  #replay: Delivery[] = []
  /** QoS 2 is held back for want of identifiers that can be trusted. */
  #wanting = false

  /**
   * @param limit how many may be open at once; the broker's Receive Maximum lowers it
   * @param onRoom more may go than before, without an answer having come
   */
  constructor (limit: number, onRoom: () => void) {
    this.#suspects = new Suspects(onRoom)
    this.#limit = limit
  }

  get size (): number {
    return this.#deliveries.size
  }

  /** True while an acknowledgement of the broker is needed to go on. */
  get awaiting (): boolean {
    return this.#window.awaiting || this.#clearing.awaiting
  }

  /** True while there is something to be sent again. */
  get replaying (): boolean {
    return this.#replay.length > 0
  }

  get (id: number): Delivery | undefined {
    return this.#deliveries.get(id)
  }

  [Symbol.iterator] (): IterableIterator<Delivery> {
    return this.#deliveries.values()
  }

  /** A connection is up. Returns what is over with the session that it belonged to. */
  attach (info: ConnectInfo): Delivery[] {
    this.#suspects.attached()
    this.#clearing.attach(info.sessionPresent)
    this.#window.reset(info, this.#limit)
    this.#replay = []
    const lost: Delivery[] = []
    for (const delivery of this.#deliveries.values()) {
      delivery.open = false
      if (info.sessionPresent || (!delivery.abandoned && delivery.state === 'sent')) this.#replay.push(delivery)
      // Sent again it could arrive twice. One that nobody waits for any more is over with the session.
      else lost.push(delivery)
    }
    return lost
  }

  /** The connection is gone; returns what it hung up on, when that is known. */
  detach (hungUp: boolean, redelivered: number): Delivery | undefined {
    this.#suspects.detached()
    this.#clearing.detach()
    this.#window.clear()
    this.#wanting = false
    return hungUp ? this.#suspects.accuse([...this.#deliveries.values()].filter(({ open }) => open), redelivered) : undefined
  }

  /** True when one of this QoS may leave now. */
  fits (qos: QoS): boolean {
    if (!this.#hasRoom(qos)) return false
    if (qos < 2 || this.#clearing.suffices(this.#window.size2)) return true
    this.#wanting = true
    return false
  }

  /** It leaves for the first time. */
  send (delivery: Delivery): void {
    delivery.identify((delivery.qos === 1 ? this.#ids1 : this.#ids2).allocate())
    this.#deliveries.set(delivery.packetId, delivery)
    this.#open(delivery)
  }

  /** What the last connection left unconfirmed, as far as the window allows; `unfit` gives what cannot be sent on this one. */
  resend (gather: Gather, prepare: (delivery: Delivery) => Error | undefined, unfit: (delivery: Delivery, error: Error) => void): void {
    let done = 0
    for (; done < this.#replay.length; done++) {
      const delivery = this.#replay[done]!
      if (delivery.state === 'settled') continue
      if (!this.#hasRoom(delivery.qos)) break
      if (delivery.state === 'released') {
        this.#open(delivery)
        delivery.resumed = true
        gather.packet(pubrel(delivery.packetId))
        continue
      }
      // The broker may have become narrower meanwhile.
      const error = prepare(delivery)
      if (error !== undefined) {
        unfit(delivery, error)
        continue
      }
      this.#open(delivery)
      delivery.repeat()
      gather.frame(delivery)
    }
    this.#replay = this.#replay.slice(done)
  }

  /** What has to be sent before QoS 2 can be, if it waits for that. */
  clear (gather: Gather): void {
    if (!this.#wanting) return
    this.#wanting = false
    for (const id of this.#clearing.ask(this.#window.size2)) gather.packet(pubrel(id))
  }

  /** PUBCOMP for an id without a publish; true when it was awaited. */
  cleared (id: number): boolean {
    return this.#clearing.answered(id)
  }

  /**
   * PUBACK, PUBREC or PUBCOMP for a publish.
   *
   * @throws MalformedPacket when it does not belong there
   */
  acknowledge (delivery: Delivery, type: number, reasonCode: number): Verdict {
    if (type === PacketType.PUBACK ? delivery.qos !== 1 : delivery.qos !== 2 || (type === PacketType.PUBCOMP && delivery.state !== 'released')) {
      throw new MalformedPacket('An acknowledgement does not fit its PUBLISH', MalformedReason.PROTOCOL_ERROR)
    }
    this.#suspects.acquit(delivery, reasonCode >= 0x80)
    if (type === PacketType.PUBREC && reasonCode < 0x80) {
      delivery.state = 'released'
      return GOES_ON
    }
    // One that waits to be sent again on this connection takes no room in its window.
    if (delivery.open) this.#window.close(delivery.qos)
    delivery.open = false
    // The exchange was over before, and its PUBCOMP was lost with that connection: no error during recovery (MQTT 5 section 3.7.2.1).
    if (reasonCode === 0 || (type === PacketType.PUBCOMP && reasonCode === NOT_FOUND && delivery.resumed)) return CONFIRMED
    if (reasonCode < 0x80) return { settled: true, error: null, reasonCode }
    return { settled: true, error: type === PacketType.PUBCOMP ? sessionLost(reasonCode) : refused(reasonCode), reasonCode: 0 }
  }

  /** Nothing is open any more: whatever the last connection ended over was none of it. */
  endDoubt (): void {
    if (!this.replaying && !this.#window.awaiting) this.#suspects.relax()
  }

  /** It has settled; `unanswered` when the broker may go on with it. */
  remove (delivery: Delivery, unanswered: boolean): void {
    const { packetId } = delivery
    this.#deliveries.delete(packetId)
    this.#suspects.forget(delivery)
    if (delivery.qos === 1) this.#ids1.release(packetId)
    else if (unanswered) this.#ids2.doubt(packetId)
    else this.#ids2.release(packetId)
  }

  /** Behind a hang-up nothing else, QoS 0 neither, goes beside the first, or it could be the reason for the next one. */
  #hasRoom (qos: QoS): boolean {
    const { allowance } = this.#suspects
    if (qos === 0) return allowance > 1 || (allowance === 1 && !this.#window.awaiting)
    return this.#window.fits(qos) && this.#window.opened < allowance
  }

  #open (delivery: Delivery): void {
    delivery.open = true
    this.#window.open(delivery.qos)
  }
}

export function pubrel (packetId: number): Buffer {
  const packet = Buffer.allocUnsafe(4)
  encodeAck(packet, 0, PacketType.PUBREL, packetId, 0, 4)
  return packet
}
