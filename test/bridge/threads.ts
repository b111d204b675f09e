import { once } from 'node:events'
import { Worker, type WorkerOptions } from 'node:worker_threads'
import { withinTime } from '../support/events.ts'
import type * as tasks from './fixtures/tasks.ts'

type Tasks = typeof tasks

/** A worker thread that runs one of the tasks. */
export function spawn<N extends keyof Tasks> (name: N, arg: Parameters<Tasks[N]>[0], options: WorkerOptions = {}): Worker {
  return new Worker(new URL('./fixtures/entry.js', import.meta.url), { ...options, workerData: { name, arg } })
}

/** What a worker's task returned, once the worker has ended by itself. */
export async function resultOf<N extends keyof Tasks> (worker: Worker, _name?: N): Promise<Awaited<ReturnType<Tasks[N]>>> {
  const exit = once(worker, 'exit')
  const [message] = await withinTime(once(worker, 'message'), 'the result of a worker') as [{ result: Awaited<ReturnType<Tasks[N]>> }]
  await withinTime(exit, 'the end of a worker')
  return message.result
}

export async function run<N extends keyof Tasks> (name: N, arg: Parameters<Tasks[N]>[0]): Promise<Awaited<ReturnType<Tasks[N]>>> {
  return await resultOf(spawn(name, arg), name)
}

/** A worker's end, however it comes about. */
export async function end (worker: Worker): Promise<{ error: Error | undefined }> {
  let error: Error | undefined
  worker.on('error', reason => { error = reason })
  await withinTime(new Promise(resolve => { worker.once('exit', resolve) }), 'the end of a worker')
  return { error }
}
