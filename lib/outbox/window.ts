import type { QoS } from '../wire/packet.ts'
import type { ConnectInfo } from '../wire/tap.ts'

/**
 * Before MQTT 5 a broker cannot tell its Receive Maximum. mosquitto allows 20 by default; while a 3.1.1 client has as
 * many QoS 2 publishes open, it ends the connection at the next one of either QoS (2.0.11 with max_queued_messages 0).
 */
const QOS2_BEFORE_V5 = 10
/** How many may be open whatever is asked for: there are as many identifiers for each QoS, and one always stays free. */
export const MAX_WINDOW = 0x3fff

/** How many QoS 1 and 2 publishes may be open on a connection (MQTT 5 section 4.9). */
export class Window {
  #size = 0
  #size2 = 0
  #open = 0
  /** Of those, QoS 2. */
  #open2 = 0

  /** A new connection: nothing is open on it. */
  reset (info: ConnectInfo, inflight: number): void {
    this.#size = Math.min(inflight, info.receiveMaximum, MAX_WINDOW)
    this.#size2 = info.version < 5 ? Math.min(this.#size, QOS2_BEFORE_V5) : this.#size
    this.clear()
  }

  clear (): void {
    this.#open = 0
    this.#open2 = 0
  }

  /** How many of QoS 2. */
  get size2 (): number {
    return this.#size2
  }

  /** True while an answer of the broker is awaited. */
  get awaiting (): boolean {
    return this.#open > 0
  }

  /** How many are. */
  get opened (): number {
    return this.#open
  }

  fits (qos: QoS): boolean {
    return qos === 0 || (this.#open < this.#size && (qos === 1 || this.#open2 < this.#size2))
  }

  open (qos: QoS): void {
    this.#open++
    if (qos === 2) this.#open2++
  }

  close (qos: QoS): void {
    this.#open--
    if (qos === 2) this.#open2--
  }
}
