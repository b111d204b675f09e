import { FST_MQTT_TIMEOUT, type MqttError } from './errors.ts'

/** Waits, for `waitForConnection`, until the connection is up and every first subscription has its answer. */
export class Readiness {
  readonly #settled: () => boolean
  #end: ((error?: Error) => void) | undefined

  /** @param settled true when connected and no subscription is pending */
  constructor (settled: () => boolean) {
    this.#settled = settled
  }

  /** Rejects with what the broker refused, or with `FST_MQTT_TIMEOUT` and what failed last. */
  wait (limit: number, lastError: () => { code: string, message: string } | undefined): Promise<void> {
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        const last = lastError()
        const why = last === undefined ? 'no answer' : `${last.code}: ${last.message}`
        this.#end?.(FST_MQTT_TIMEOUT(`The broker was not ready within ${limit} ms (option waitForConnection); last: ${why}`))
      }, limit)
      this.#end = error => {
        this.#end = undefined
        clearTimeout(timer)
        if (error === undefined) resolve()
        else reject(error)
      }
      this.check()
    })
  }

  /** Something has changed that may end the wait well. */
  check (): void {
    if (this.#end !== undefined && this.#settled()) this.#end()
  }

  /** The broker has refused something. */
  refused (error: MqttError): void {
    this.#end?.(error)
  }
}
