import type { IClientOptions } from 'mqtt'
import { FIRST_OWN_ID } from '../wire/tap.ts'

type IMessageIdProvider = NonNullable<IClientOptions['messageIdProvider']>

/** mqtt.js' packet identifiers: 1-0x7fff, and never one that is in use. */
export class LowIds implements IMessageIdProvider {
  readonly #used = new Set<number>()
  #last = 0

  allocate (): number | null {
    if (this.#used.size === FIRST_OWN_ID - 1) return null
    do this.#last = this.#last === FIRST_OWN_ID - 1 ? 1 : this.#last + 1
    while (this.#used.has(this.#last))
    this.#used.add(this.#last)
    return this.#last
  }

  getLastAllocated (): number | null {
    return this.#last === 0 ? null : this.#last
  }

  register (id: number): boolean {
    if (id >= FIRST_OWN_ID || this.#used.has(id)) return false
    this.#used.add(id)
    return true
  }

  deallocate (id: number): void {
    this.#used.delete(id)
  }

  clear (): void {
    this.#used.clear()
  }
}
