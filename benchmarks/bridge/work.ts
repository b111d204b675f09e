import type { MessagePort } from 'node:worker_threads'

/** How workers publish. */
export interface Work {
  readonly kind: 'pump' | 'await' | 'paced'
  readonly qos: 0 | 1
  /** Of each payload, in bytes. */
  readonly size: number
  /** pump: how many are under way at once. */
  readonly window: number
  /** paced: how many a second. */
  readonly rate: number
}

/** What a worker is started with. */
export interface WorkerSetup {
  readonly competitor: string
  readonly url: string
  readonly work: Work
  /** Of the competitor that posts each publish. */
  readonly port: MessagePort | undefined
}

/** The worker is warm and waits for the word, which is a number of seconds. */
export const READY = 'ready'

/** What a worker says in the end. */
export interface WorkDone {
  /** While it was measured. */
  readonly sent: number
  /** In all: warming up and barriers too. */
  readonly total: number
  /** Milliseconds from the call until it settled; of paced work only. */
  readonly latencies: number[]
}

export const OWN_CONNECTIONS = 'own connections'
export const POST_EACH = 'postMessage each'
export const MAIN_THREAD = 'mqtt.js, main thread'
