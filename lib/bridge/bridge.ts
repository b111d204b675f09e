import type { EventEmitter } from 'node:events'
import type { MessagePort } from 'node:worker_threads'
import type { FastifyBaseLogger } from 'fastify'
import { FST_MQTT_OPTIONS } from '../errors.ts'
import type { WorkerLike } from '../types/index.ts'
import type { ProtocolVersion } from '../wire/packet.ts'
import { threadHub, type HubEntry } from './hub.ts'
import type { IntakeOptions } from './intake.ts'
import { WorkerPort, type WorkerPortOptions } from './port.ts'
import { isHandshake, messageType, type PublishMessage } from './protocol.ts'

/** By then the port of a worker, passed on by another thread, has arrived if it ever does. */
const ORPHANS_WAIT = 10_000

/** What a bridge is built with. */
export interface BridgeOptions extends IntakeOptions {
  /** Undefined for the connection without one. */
  readonly namespace: string | undefined
  /** What one worker may have unconfirmed, in bytes. */
  readonly maxBytes: number
  /** Up to here QoS 0 counts as done for a worker when it is handed over, in bytes. */
  readonly window: number
  /** The filters that `permits` asks, for workers to ask them, too. */
  readonly topics?: readonly string[] | undefined
  readonly log: Pick<FastifyBaseLogger, 'error'>
  readonly request: WorkerPortOptions['request']
  readonly routes: WorkerPortOptions['routes']
}

/** One connection's side of the worker threads that publish through it. Workers find it as soon as it exists. */
export class Bridge {
  readonly #options: WorkerPortOptions
  readonly #namespace: string
  readonly #ports = new Set<WorkerPort>()
  /** Workers of which only a broadcast has arrived. */
  readonly #orphans = new Map<string, WorkerPort>()
  readonly #entry: HubEntry
  #closing: Promise<void> | undefined
  #closed = false
  #telling = false
  /** Pools that were attached. */
  readonly #attached = new Set<WorkerLike>()
  /** Of workers that were attached. */
  readonly #attachedThreads = new Set<number>()
  readonly #detach = new Set<() => void>()

  constructor (options: BridgeOptions) {
    const { namespace = '', log, prefix, version, maxBytes } = options
    this.#namespace = namespace
    this.#options = {
      ...options,
      onMalformed: (error, threadId) => log.error({ err: error, threadId }, 'MQTT: a worker sent what cannot be read; its port is closed'),
      onClose: port => { this.#ports.delete(port) }
    }
    this.#entry = {
      namespace,
      owns: threadId => this.#owns(threadId),
      hint: () => ({ prefix, version: version(), maxBytes }),
      accept: ({ port, threadId, client }) => this.accept(port, threadId, client),
      adopt: ({ client, threadId, message }) => this.#adopt(client, threadId, message)
    }
    threadHub().register(this.#entry)
  }

  /** How many workers publish through this connection. */
  get workers (): number {
    return this.#ports.size
  }

  /** Takes a worker in by its end of a MessageChannel. */
  accept (port: MessagePort, threadId: number, client = ''): void {
    const worker = this.#orphans.get(client) ?? new WorkerPort(threadId, this.#options)
    this.#orphans.delete(client)
    this.#ports.add(worker)
    worker.bind(port)
    if (this.#closed) dismiss(worker)
  }

  #owns (threadId: number): boolean {
    return this.#attachedThreads.has(threadId) ||
      [...this.#attached].some(({ threads }) => threads?.some(thread => thread.threadId === threadId) === true)
  }

  /** A worker whose port has not arrived, and may never. */
  #adopt (client: string, threadId: number, message: unknown): void {
    let worker = this.#orphans.get(client)
    if (worker === undefined) {
      worker = new WorkerPort(threadId, this.#options)
      this.#orphans.set(client, worker)
      setTimeout(() => { this.#orphans.delete(client) }, ORPHANS_WAIT).unref()
    }
    // What it said before that nobody heard here. If it lives, its handshake brings all of it.
    if (messageType(message) === 'publish' && (message as PublishMessage).first > worker.taken) return
    worker.receive(message)
  }

  /** See `MultiMqtt.attach`. Messages that are not ours are left alone, and nothing is ever sent to the worker's own port. */
  attach (workerOrPool: WorkerLike): void {
    if (typeof (workerOrPool as Partial<WorkerLike> | null | undefined)?.on !== 'function') throw FST_MQTT_OPTIONS('attach: give it a Worker, or a pool that passes on the messages of its workers')
    const onMessage = (message: unknown): void => {
      if (this.#closed || !isHandshake(message) || message.namespace !== this.#namespace) return
      threadHub().claim(message, this.#entry)
    }
    workerOrPool.on('message', onMessage)
    const { threadId } = workerOrPool
    const onExit = (): void => {
      detach()
      // Its handshake may still be on its way.
      setTimeout(() => { this.#attachedThreads.delete(threadId!) }, ORPHANS_WAIT).unref()
    }
    const detach = (): void => {
      const emitter = workerOrPool as Partial<EventEmitter>
      emitter.off?.('message', onMessage)
      emitter.off?.('exit', onExit)
      this.#attached.delete(workerOrPool)
      this.#detach.delete(detach)
    }
    this.#detach.add(detach)
    if (threadId === undefined) {
      // A pool stays, its workers come and go.
      this.#attached.add(workerOrPool)
      return
    }
    // One worker: it is let go when it has ended.
    this.#attachedThreads.add(threadId)
    ;(workerOrPool as EventEmitter).once('exit', onExit)
  }

  /** The connection's version is known, or another than before. */
  setVersion (version: ProtocolVersion): void {
    if (this.#closed) return
    threadHub().refresh()
    for (const port of this.#ports) port.setVersion(version)
  }

  /** Routes with a name have come or gone. */
  routesChanged (): void {
    if (this.#telling || this.#closed || this.#ports.size === 0) return
    this.#telling = true
    // Once for all that are declared in a turn.
    setImmediate(() => {
      this.#telling = false
      const routes = this.#options.routes()
      for (const port of this.#ports) port.setRoutes(routes)
    })
  }

  /**
   * Ends the publishing of workers. Resolves when all that they handed over before has been put into the outbox; what
   * comes later is rejected with FST_MQTT_CLOSED. Answers go on for as long as the outbox has any to give.
   */
  close (): Promise<void> {
    this.#closing ??= this.#close()
    return this.#closing
  }

  async #close (): Promise<void> {
    // A worker that is gone by now may have handed over its port just before: let what has arrived be read.
    for (let turns = 0; turns < 3; turns++) await nextTurn()
    this.#closed = true
    threadHub().unregister(this.#entry)
    for (const detach of this.#detach) detach()
    for (const port of this.#ports) dismiss(port)
  }
}

function dismiss (worker: WorkerPort): void {
  worker.drain()
  worker.close()
}

function nextTurn (): Promise<void> {
  return new Promise(resolve => { setImmediate(resolve) })
}
