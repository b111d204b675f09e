import { Piscina } from 'piscina'
import { Tinypool } from 'tinypool'
import type { Owner } from '../support/folder.ts'
import { waitFor } from '../support/events.ts'
import { Cell } from './fixtures/pool-tasks.ts'

const filename = new URL('./fixtures/pool-tasks.js', import.meta.url).href

export interface PoolSize {
  threads?: number
  maxQueue?: number
  concurrentTasksPerWorker?: number
  /** Of each thread's heap, in MB. */
  heap?: number
}

/** What the pools of these tests have in common. */
export interface TestPool {
  readonly pool: Piscina | Tinypool
  /** What the tasks tell and wait for; see `Cell`. */
  readonly cells: Int32Array
}

/** The pools that a handler may run in. */
export const POOLS = { piscina: Piscina, tinypool: Tinypool } as const
export type PoolName = keyof typeof POOLS

/** A pool of the tasks in fixtures/pool-tasks.ts; it ends with the test. */
export function startPool (t: Owner, name: PoolName, { threads = 1, heap, ...options }: PoolSize = {}): TestPool {
  const cells = new Int32Array(new SharedArrayBuffer(4 * 5))
  const pool = new POOLS[name]({
    filename,
    // Without the loaders of the test runner, which each thread would start with.
    execArgv: [],
    minThreads: threads,
    maxThreads: threads,
    workerData: { cells },
    ...(heap !== undefined && { resourceLimits: { maxOldGenerationSizeMb: heap } }),
    ...options
  })
  t.after(async () => {
    openGate(cells)
    await pool.destroy()
  })
  return { pool, cells }
}

/** Resolves when so many tasks have come to their gate. */
export async function entered (cells: Int32Array, count: number): Promise<void> {
  await waitFor(() => Atomics.load(cells, Cell.entered) >= count, `${count} tasks at their gate`)
}

/** Lets all tasks go, also those that come later. */
export function openGate (cells: Int32Array): void {
  Atomics.store(cells, Cell.open, 1)
  Atomics.notify(cells, Cell.open)
}
