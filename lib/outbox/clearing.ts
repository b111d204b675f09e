import type { PacketIds } from './packet-ids.ts'

/**
 * The broker of a kept session may have a QoS 2 exchange open that nobody here knows of: an earlier process died in the
 * middle of it, or it was given up. It would take a new PUBLISH with that id for the old one, answer it, and
 * deliver nothing (MQTT 5 section 4.3.3). PUBREL ends such an exchange, whether there is one or not, and PUBCOMP says so:
 * as many ids are cleared in this way as the window needs, before the first publish of QoS 2.
 */
export class Clearing {
  readonly #ids: PacketIds
  /** PUBREL was sent for these, and not yet answered on this connection. */
  readonly #asked = new Set<number>()
  #first = true

  constructor (ids: PacketIds) {
    this.#ids = ids
  }

  /** True while answers are awaited. */
  get awaiting (): boolean {
    return this.#asked.size > 0
  }

  /** A connection is up. */
  attach (sessionPresent: boolean): void {
    this.#asked.clear()
    if (!sessionPresent) this.#ids.trustAll()
    else if (this.#first) this.#ids.doubtAll()
    this.#first = false
  }

  detach (): void {
    this.#asked.clear()
  }

  /** True when `count` exchanges can be open at once. */
  suffices (count: number): boolean {
    return this.#ids.trusted >= count
  }

  /** The ids to send PUBREL for, so that there are `count`. */
  ask (count: number): number[] {
    const ids = this.#ids.doubtful(count - this.#ids.trusted).filter(id => !this.#asked.has(id))
    for (const id of ids) this.#asked.add(id)
    return ids
  }

  /** PUBCOMP; false when it is not about one of these. */
  answered (id: number): boolean {
    if (!this.#asked.delete(id)) return false
    this.#ids.trust(id)
    return true
  }
}
