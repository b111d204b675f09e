import { FST_MQTT_OPTIONS } from '../errors.ts'
import type { RetryOptions } from '../types/index.ts'

const DELAY = 100
const FACTOR = 2
/** The longest that a timer can wait. */
const MOST = 2 ** 31 - 1

/** How often, and after which waits, a failed handler is called again. */
export class Retry {
  /** How many times more. */
  readonly attempts: number
  readonly #delay: number
  readonly #factor: number

  /** @throws `FST_MQTT_OPTIONS` naming the option */
  constructor (options: RetryOptions) {
    if (typeof options !== 'object' || options === null || Array.isArray(options)) throw FST_MQTT_OPTIONS('retry must be an object with attempts')
    const { attempts, delay = DELAY, factor = FACTOR, ...unknown } = options
    const [key] = Object.keys(unknown)
    if (key !== undefined) throw FST_MQTT_OPTIONS(`retry.${key}: unknown option (known: attempts, delay, factor)`)
    if (!Number.isSafeInteger(attempts) || attempts < 1) throw FST_MQTT_OPTIONS('retry.attempts must be a whole number, 1 or more')
    if (!(typeof delay === 'number' && delay >= 0 && delay <= MOST)) throw FST_MQTT_OPTIONS('retry.delay must be a number of milliseconds, 0 to 2 147 483 647')
    if (!(typeof factor === 'number' && factor >= 1 && factor < Infinity)) throw FST_MQTT_OPTIONS('retry.factor must be a number, 1 or more')
    this.attempts = attempts
    this.#delay = delay
    this.#factor = factor
  }

  /** Milliseconds before the retry with this number; the first is 0. */
  wait (retry: number): number {
    return this.#delay === 0 ? 0 : Math.min(this.#delay * this.#factor ** retry, MOST)
  }
}
