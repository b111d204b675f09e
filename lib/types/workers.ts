import type { TopicDefinition } from '../topics/define.ts'
import type { PublishProperties, QoS } from '../wire/packet.ts'
import type { ParamsOf } from './schema.ts'

/** What `attach` takes: a Worker, or a pool that emits its workers' messages. */
export interface WorkerLike {
  /** Of a Worker. */
  readonly threadId?: number
  /** A pool's workers, as Piscina and its like have them. */
  readonly threads?: ReadonlyArray<{ readonly threadId: number }>
  on (event: 'message', listener: (message: unknown) => void): unknown
}

/** What `poolHandler` takes: a pool of worker threads with the `run` of Piscina, such as that and tinypool. */
export interface PoolLike {
  run (task: any, options: { name?: string, signal?: AbortSignal, transferList?: ArrayBuffer[] }): Promise<unknown>
  /** The worker threads of now, so that what ended one can be told from what a task threw. */
  readonly threads?: ReadonlyArray<{ on (event: 'error', listener: (error: any) => void): unknown }>
}

/** Options of `poolHandler`. */
export interface PoolHandlerOptions {
  /** What the task's file exports the task as. Default: the pool's own. */
  name?: string | undefined
}

/** What the task of a `poolHandler` is given: a message, as it can cross to another thread. */
export interface PoolTask<Pattern extends string | TopicDefinition = string> {
  /** The topic without the prefix. */
  readonly topic: string
  readonly params: ParamsOf<Pattern>
  /** The bytes, in memory that holds nothing else. */
  readonly payload: Uint8Array
  /** As `message.body`; bytes are the `payload`. */
  readonly body: unknown
  readonly qos: QoS
  readonly retain: boolean
  readonly properties: PublishProperties
}
