import { once } from 'node:events'
import { Worker, type WorkerOptions } from 'node:worker_threads'
import { withinTime } from '../support/events.ts'
import type * as tasks from './fixtures/tasks.ts'

type Tasks = typeof tasks
type Name = keyof Tasks
type Argument<N extends Name> = Parameters<Tasks[N]>[0]
type Result<N extends Name> = Awaited<ReturnType<Tasks[N]>>

/** Without the loaders of the test runner, which each thread would start with: they take a second and 20 MB. */
export const PLAIN = { execArgv: [] as string[] } as const

/** A worker thread that runs one of the tasks. */
export function spawn<N extends Name> (name: N, arg: Argument<N>, options: WorkerOptions = {}): Worker {
  return new Worker(new URL('./fixtures/entry.js', import.meta.url), { ...PLAIN, ...options, workerData: { name, arg } })
}

/** What a worker's task returned, once the worker has ended by itself. */
export async function resultOf<R> (worker: Worker): Promise<R> {
  let result: R | undefined
  // A worker that finds no plugin asks its parent, too: not every message is the result.
  worker.on('message', (message: { result?: R }) => { result ??= message.result })
  await withinTime(once(worker, 'exit'), 'the end of a worker')
  return result as R
}

/** Runs a task in a worker of its own. */
export async function run<N extends Name> (name: N, arg: Argument<N>): Promise<Result<N>> {
  return await resultOf<Result<N>>(spawn(name, arg))
}

/** A worker's end, however it comes about, and what it died of. */
export async function endOf (worker: Worker): Promise<Error | undefined> {
  let error: Error | undefined
  worker.on('error', reason => { error = reason as Error })
  await withinTime(new Promise(resolve => { worker.once('exit', resolve) }), 'the end of a worker')
  return error
}

/** A worker that publishes when it is told to. */
export class Puppet {
  readonly worker = spawn('onDemand', undefined as never)

  async started (): Promise<this> {
    await this.#answer()
    return this
  }

  async publish (burst: tasks.Burst): Promise<unknown[]> {
    const answer = this.#answer()
    this.worker.postMessage(burst)
    return await answer as unknown[]
  }

  async end (): Promise<void> {
    const exit = once(this.worker, 'exit')
    this.worker.postMessage(null)
    await withinTime(exit, 'the end of a worker')
  }

  async #answer (): Promise<unknown> {
    const [message] = await withinTime(once(this.worker, 'message'), 'an answer of a worker') as [{ answer: unknown }]
    return message.answer
  }
}
