import type { MqttError } from '../errors.ts'
import type { ErrorShape, Failure, SettledMessage } from './protocol.ts'

/** Collects what became of a worker's publishes, and of the memory that they came in, for one message to tell it all. */
export class Answers {
  #confirmed: number[] = []
  #codes: number[] = []
  #failed: Failure[] = []
  #credit = 0
  #returned: ArrayBuffer[] = []

  /** `credit`: how many bytes the worker counted for them. */
  confirm (first: number, count: number, reasonCode: number, credit: number): void {
    this.#credit += credit
    if (reasonCode !== 0) {
      this.#codes.push(first, reasonCode)
      return
    }
    const confirmed = this.#confirmed
    const last = confirmed.length - 2
    if (last >= 0 && confirmed[last]! + confirmed[last + 1]! === first) confirmed[last + 1]! += count
    else confirmed.push(first, count)
  }

  fail (first: number, count: number, error: Error, credit: number): void {
    this.#credit += credit
    const shape = errorShape(error)
    const last = this.#failed.at(-1)
    // A full outbox says the same of thousands.
    if (last !== undefined && last.first + last.count === first && alike(last, shape)) {
      this.#failed[this.#failed.length - 1] = { ...last, count: last.count + count }
    } else this.#failed.push({ first, count, ...shape })
  }

  /** Memory that the worker has lent goes back to it. */
  giveBack (buffer: ArrayBuffer): void {
    this.#returned.push(buffer)
  }

  get empty (): boolean {
    return this.#confirmed.length === 0 && this.#codes.length === 0 && this.#failed.length === 0 && this.#returned.length === 0
  }

  /** All of it, to be forgotten here. */
  take (): SettledMessage {
    const message: SettledMessage = {
      type: 'settled', confirmed: this.#confirmed, codes: this.#codes, failed: this.#failed, credit: this.#credit, returned: this.#returned
    }
    this.#confirmed = []
    this.#codes = []
    this.#failed = []
    this.#credit = 0
    this.#returned = []
    return message
  }
}

/** An error as it crosses threads. */
export function errorShape (error: Error): ErrorShape {
  const { code, message, reasonCode, remote, maybeSent = true } = error as MqttError
  return { code, message, maybeSent, ...(reasonCode !== undefined && { reasonCode }), ...(remote !== undefined && { remote }) }
}

function alike (a: ErrorShape, b: ErrorShape): boolean {
  return a.code === b.code && a.message === b.message && a.reasonCode === b.reasonCode && a.maybeSent === b.maybeSent
}
