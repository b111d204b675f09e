import type { PoolLike } from '../types/index.ts'

/**
 * What pools say of a thread that is gone: Piscina of one that has exited, it and tinypool of one that they ended
 * themselves. There are no codes for these.
 */
const ENDED = /^(worker exited with code: -?\d+|Terminating worker thread)$/
/** Node's own codes begin like this: out of memory, an uncaught error that cannot be cloned, and their like. */
const NODE_CODE = /^ERR_WORKER_/

const watched = new WeakSet<object>()
const fatal = new WeakSet<object>()

/**
 * Notes what ends the threads of a pool. An error that nobody caught there fails the task just as one that the task
 * threw does, and only by being the very same object as the thread's last can it be told from that.
 */
export function watchThreads ({ threads }: PoolLike): void {
  if (threads === undefined) return
  for (const thread of threads) {
    if (watched.has(thread)) continue
    watched.add(thread)
    thread.on('error', error => { if (typeof error === 'object' && error !== null) fatal.add(error) })
  }
}

/** Whether a task failed because its thread ended. */
export function diedOf (reason: unknown): boolean {
  if (typeof reason !== 'object' || reason === null) return false
  if (fatal.has(reason)) return true
  if (!(reason instanceof Error)) return false
  const { code } = reason as { code?: unknown }
  return ENDED.test(reason.message) || (typeof code === 'string' && NODE_CODE.test(code))
}
