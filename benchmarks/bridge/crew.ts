import { once } from 'node:events'
import { MessageChannel, Worker, type MessagePort } from 'node:worker_threads'
import type { Cleanup } from '../harness/cleanup.ts'
import { startClock, type Took } from '../harness/clock.ts'
import { READY, type Work, type WorkDone, type WorkerSetup } from './work.ts'

/** What all workers together did. */
export interface CrewDone extends WorkDone {
  readonly took: Took
}

/** Worker threads that do the same work at the same time. */
export class Crew {
  readonly #workers: Worker[] = []
  /** A worker has failed. */
  readonly #failed: Promise<never>
  #fail!: (error: Error) => void

  /** @param onPort gets the main thread's end of a channel for each worker */
  constructor (
    owner: Cleanup, count: number, setup: { competitor: string, url: string, work: Work }, onPort: ((port: MessagePort) => void) | undefined
  ) {
    this.#failed = new Promise((_resolve, reject) => { this.#fail = reject })
    this.#failed.catch(() => {})
    for (let i = 0; i < count; i++) {
      const channel = onPort === undefined ? undefined : new MessageChannel()
      const workerData: WorkerSetup = { ...setup, port: channel?.port2 }
      const worker = new Worker(new URL('./worker.js', import.meta.url), {
        workerData, transferList: channel === undefined ? [] : [channel.port2]
      })
      this.#workers.push(worker)
      worker.on('error', error => { this.#fail(error as Error) })
      worker.on('exit', code => { this.#fail(new Error(`A worker ended with ${code}`)) })
      owner.after(() => worker.terminate())
      if (channel === undefined || onPort === undefined) continue
      onPort(channel.port1)
      owner.after(() => { channel.port1.close() })
    }
  }

  /** Resolves when all have warmed up. */
  async ready (): Promise<void> {
    for (const word of await this.#each<string>()) if (word !== READY) throw new Error(`A worker said ${word}`)
  }

  /** Has them work, and adds up what they did. */
  async work (seconds: number): Promise<CrewDone> {
    const stop = startClock()
    const answers = this.#each<WorkDone>()
    for (const worker of this.#workers) worker.postMessage(seconds)
    const done = await answers
    const took = stop()
    return {
      took,
      sent: done.reduce((sum, it) => sum + it.sent, 0),
      total: done.reduce((sum, it) => sum + it.total, 0),
      latencies: done.flatMap(it => it.latencies)
    }
  }

  /** The next message of each. */
  async #each<T> (): Promise<T[]> {
    const messages = this.#workers.map(async worker => (await once(worker, 'message') as [T])[0])
    return await Promise.race([Promise.all(messages), this.#failed])
  }
}
