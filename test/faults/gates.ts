import { waitFor } from '../support/events.ts'

interface Gate {
  entered: number
  pending: Promise<void>
  open: () => void
  fail: (error: Error) => void
}

/** Handlers that wait until the test lets them go, each by its name. */
export class Gates {
  readonly #gates = new Map<string, Gate>()

  /** What a handler returns. Once open, a gate stays open. */
  wait (name: string): Promise<void> {
    const gate = this.#gate(name)
    gate.entered++
    return gate.pending
  }

  open (name: string): void {
    this.#gate(name).open()
  }

  fail (name: string, error: Error): void {
    this.#gate(name).fail(error)
  }

  /** How many handlers have come to it. */
  count (name: string): number {
    return this.#gate(name).entered
  }

  async entered (...names: string[]): Promise<void> {
    await waitFor(() => names.every(name => this.count(name) > 0), `the handlers of ${names.join(', ')}`)
  }

  #gate (name: string): Gate {
    let gate = this.#gates.get(name)
    if (gate === undefined) {
      let open!: () => void
      let fail!: (error: Error) => void
      const pending = new Promise<void>((resolve, reject) => { open = resolve; fail = reject })
      pending.catch(() => {})
      gate = { entered: 0, pending, open, fail }
      this.#gates.set(name, gate)
    }
    return gate
  }
}
