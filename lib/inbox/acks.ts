import { Fifo } from '../fifo.ts'
import { encodeAck, MAX_ACK_LENGTH } from '../wire/acks.ts'
import { MalformedPacket, MalformedReason } from '../wire/malformed.ts'
import type { ProtocolVersion, QoS } from '../wire/packet.ts'
import { PacketType } from '../wire/packet.ts'

/** A broker that has used an identifier twice before it was given back does not keep to any limit. */
const MAX_PENDING = 65_535

/** What the inbox needs of a connection; a Tap is one. */
export interface InboxLink {
  readonly version: ProtocolVersion
  /** No session is kept: what is not acknowledged when it ends does not come again. */
  readonly ephemeral: boolean
  readonly destroyed: boolean
  send (packets: readonly Buffer[]): void
  hold (): void
  unhold (): void
  /** Ends the connection behind all that was sent. */
  disconnect (why?: Error): void
}

/**
 * One QoS 1 or 2 message that was received and not yet acknowledged. It belongs to the connection that it came
 * through: acknowledged on a later one, its id would be another message's.
 */
export interface Receipt {
  readonly qos: QoS
  readonly packetId: number
  handled: boolean
  reasonCode: number
}

/**
 * The acknowledgements of one connection. By default they leave in the order of receipt (MQTT 5 section 4.6), all
 * that are due in one write per turn.
 */
export class Acks {
  readonly #link: InboxLink
  readonly #inOrder: boolean
  /** In order of receipt. */
  readonly #pending = new Fifo<Receipt>()
  /** Out of order: handled, not yet written. */
  #due: Receipt[] = []
  #scheduled = false

  constructor (link: InboxLink, ackOrder: 'received' | 'handled') {
    this.#link = link
    this.#inOrder = ackOrder === 'received'
  }

  /** A QoS 1 or 2 message came in. */
  expect (qos: QoS, packetId: number): Receipt {
    if (this.#pending.length >= MAX_PENDING) throw new MalformedPacket('More messages wait for their acknowledgement than there are packet identifiers', MalformedReason.PROTOCOL_ERROR)
    const receipt = { qos, packetId, handled: false, reasonCode: 0 }
    if (this.#inOrder) this.#pending.push(receipt)
    return receipt
  }

  /** Its handlers have settled. */
  handled (receipt: Receipt, reasonCode: number): void {
    if (receipt.handled) return
    receipt.handled = true
    receipt.reasonCode = reasonCode
    if (!this.#inOrder) this.#due.push(receipt)
    else if (this.#pending.first !== receipt) return
    if (this.#scheduled) return
    this.#scheduled = true
    queueMicrotask(() => this.#flush())
  }

  /** PUBREL: the second half of QoS 2 is answered at once. */
  complete (packetId: number, reasonCode: number): void {
    if (this.#link.destroyed) return
    const packet = Buffer.allocUnsafe(MAX_ACK_LENGTH)
    this.#link.send([packet.subarray(0, encodeAck(packet, 0, PacketType.PUBCOMP, packetId, reasonCode, this.#link.version))])
  }

  /**
   * The connection is about to be ended. What is handled and stands behind what is not leaves now, still in the order of
   * receipt: the rest is never acknowledged on this connection.
   */
  finish (): void {
    for (let receipt = this.#pending.shift(); receipt !== undefined; receipt = this.#pending.shift()) {
      if (receipt.handled) this.#due.push(receipt)
    }
    this.#write(this.#due)
    this.#due = []
  }

  #flush (): void {
    this.#scheduled = false
    const due = this.#inOrder ? this.#takeHandled() : this.#due
    this.#due = []
    this.#write(due)
  }

  #write (due: readonly Receipt[]): void {
    if (due.length === 0 || this.#link.destroyed) return
    const packet = Buffer.allocUnsafe(due.length * MAX_ACK_LENGTH)
    let end = 0
    for (const { qos, packetId, reasonCode } of due) {
      end = encodeAck(packet, end, qos === 1 ? PacketType.PUBACK : PacketType.PUBREC, packetId, reasonCode, this.#link.version)
    }
    this.#link.send([packet.subarray(0, end)])
  }

  #takeHandled (): Receipt[] {
    const due: Receipt[] = []
    while (this.#pending.first?.handled === true) due.push(this.#pending.shift()!)
    return due
  }
}
