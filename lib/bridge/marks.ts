import { MalformedPacket } from '../wire/malformed.ts'

const NOTHING: readonly number[] = []

function isNumber (value: unknown): boolean {
  return typeof value === 'number' && !Number.isNaN(value)
}

/** Goes along an ascending list of publishes, each with what belongs to it. */
export class Marks {
  readonly #list: readonly number[]
  readonly #stride: 1 | 2
  #at = 0

  /** @throws MalformedPacket */
  constructor (list: readonly number[] = NOTHING, stride: 1 | 2) {
    if (list !== NOTHING && !(Array.isArray(list) && list.every(isNumber))) throw new MalformedPacket('Marks that are no numbers')
    this.#list = list
    this.#stride = stride
  }

  /** What the list says of this publish: the number behind its own, or its own; undefined when it is not in it. */
  take (seq: number): number | undefined {
    if (this.#list[this.#at] !== seq) return undefined
    const value = this.#list[this.#at + this.#stride - 1]
    this.#at += this.#stride
    return value
  }
}
