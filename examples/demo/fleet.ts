import { setTimeout as sleep } from 'node:timers/promises'
import { Piscina } from 'piscina'
import { createDevice, type Climate, type DeviceModel, type Settings } from './device.ts'
import type { Stretch } from './device-task.ts'

/** What the page shows of the pool. */
export interface PoolStatus {
  threads: number
  devices: number
  queued: number
  completed: number
}

const STEPS = 2
const PACE = 500
const REPORT_EVERY = 10_000
const THREADS = 2

/** The simulated devices, and the pool of worker threads in which they live. */
export class Fleet {
  readonly devices: ReadonlyMap<number, DeviceModel>
  readonly #pool: Piscina<Stretch, Climate>
  readonly #lives: Array<Promise<void>> = []
  readonly #reportAt = new Map<number, number>()
  readonly #onError: (error: Error) => void
  readonly #stopping = new AbortController()

  constructor (count: number, onError: (error: Error) => void) {
    this.devices = new Map(Array.from({ length: count }, (_, i) => [i + 1, createDevice(i + 1)]))
    this.#onError = onError
    const threads = Math.min(THREADS, Math.max(1, count))
    this.#pool = new Piscina<Stretch, Climate>({
      filename: new URL('./device-task.js', import.meta.url).href,
      minThreads: threads,
      maxThreads: threads,
      // Devices mostly wait for their next reading, so several share a thread.
      concurrentTasksPerWorker: Math.max(1, Math.ceil(count / threads))
    })
    // A thread that dies between tasks; Piscina starts another.
    this.#pool.on('error', onError)
  }

  start (): void {
    if (this.#stopping.signal.aborted) return
    for (const device of this.devices.values()) this.#lives.push(this.#live(device))
  }

  /** Applies a command; false when no simulated device has this id. */
  apply (id: number, change: Partial<Settings>): boolean {
    const device = this.devices.get(id)
    if (device === undefined) return false
    Object.assign(device.settings, change)
    this.#reportAt.set(id, 0)
    return true
  }

  status (): PoolStatus {
    return {
      threads: this.#pool.threads.length,
      devices: this.devices.size,
      queued: this.#pool.queueSize,
      completed: this.#pool.completed
    }
  }

  /** Lets the stretches that are running end, a second at most, so that all they publish still goes out. */
  async close (): Promise<void> {
    this.#stopping.abort()
    await Promise.all(this.#lives)
    await this.#pool.close()
  }

  async #live (device: DeviceModel): Promise<void> {
    const { signal } = this.#stopping
    while (!signal.aborted) {
      try {
        Object.assign(device.climate, await this.#pool.run(this.#nextStretch(device)))
      } catch (error) {
        if (signal.aborted) return
        this.#onError(error as Error)
        await sleep(1_000, undefined, { signal }).catch(() => {})
      }
    }
  }

  #nextStretch ({ id, climate, settings }: DeviceModel): Stretch {
    const now = Date.now()
    const report = now >= (this.#reportAt.get(id) ?? 0)
    if (report) this.#reportAt.set(id, now + REPORT_EVERY)
    return { id, climate, settings, report, steps: STEPS, pace: PACE }
  }
}
