import type { IClientOptions } from 'mqtt'
import { Fifo } from '../fifo.ts'
import { FIRST_OWN_ID } from '../wire/tap.ts'

type IMessageIdProvider = NonNullable<IClientOptions['messageIdProvider']>

/** mqtt.js' packet identifiers: 1-0x7fff, never one that is in use, and one that came back as late as possible. */
export class LowIds implements IMessageIdProvider {
  readonly #used = new Set<number>()
  #returned = new Fifo<number>()
  #fresh = 1
  #last: number | null = null

  allocate (): number | null {
    const id = this.#next()
    if (id === undefined) return null
    this.#used.add(id)
    this.#last = id
    return id
  }

  getLastAllocated (): number | null {
    return this.#last
  }

  register (id: number): boolean {
    if (id >= FIRST_OWN_ID || this.#used.has(id)) return false
    this.#used.add(id)
    return true
  }

  deallocate (id: number): void {
    if (this.#used.delete(id)) this.#returned.push(id)
  }

  clear (): void {
    this.#used.clear()
    this.#returned = new Fifo()
    this.#fresh = 1
  }

  #next (): number | undefined {
    while (this.#fresh < FIRST_OWN_ID) {
      const id = this.#fresh++
      if (!this.#used.has(id)) return id
    }
    // What was registered meanwhile is in use again.
    for (;;) {
      const id = this.#returned.shift()
      if (id === undefined || !this.#used.has(id)) return id
    }
  }
}
