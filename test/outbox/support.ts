import { Delivery, type Settle } from '../../lib/outbox/delivery.ts'
import type { OutboxLink } from '../../lib/outbox/outbox.ts'
import { encodePublish, publishLength } from '../../lib/wire/encode.ts'
import type { QoS } from '../../lib/wire/packet.ts'
import type { ConnectInfo } from '../../lib/wire/tap.ts'

/** One publish to the topic `n`, encoded for MQTT 3.1.1. */
export function delivery (qos: QoS, deadline: number, settle: Settle, payload = ''): Delivery {
  const topic = Buffer.from([0, 1, 0x6e])
  const buffer = Buffer.alloc(publishLength(3, payload.length, qos, 4, null))
  encodePublish(buffer, 0, topic, payload, payload.length, qos, false, 4, null)
  return new Delivery({ buffer, start: 0, end: buffer.length }, 4, qos, deadline, settle)
}

/** What a broker of MQTT 3.1.1 says of itself. */
export const info: ConnectInfo = {
  version: 4,
  sessionPresent: true,
  receiveMaximum: 65_535,
  maximumPacketSize: Infinity,
  maximumQoS: 2,
  retainAvailable: true,
  subscriptionIdentifiers: false
}

/** A connection that keeps what it is given. */
export class Wire implements OutboxLink {
  /** How many bytes it takes. */
  room = Infinity
  readonly packets: Buffer[] = []
  destroyed: Error | undefined

  get ready (): boolean {
    return this.room > 0
  }

  send (packets: readonly Buffer[], done?: () => void): void {
    // A copy: frames are patched and sent again.
    for (const packet of packets) {
      this.packets.push(Buffer.from(packet))
      this.room -= packet.length
    }
    if (done !== undefined) queueMicrotask(done)
  }

  destroy (error?: Error): void {
    this.destroyed = error ?? new Error('destroyed')
  }
}
