import type { MessagePort } from 'node:worker_threads'
import type { FastifyBaseLogger } from 'fastify'
import type { WorkerLike } from '../types.ts'
import type { ProtocolVersion } from '../wire/packet.ts'
import { threadHub, type HubEntry } from './hub.ts'
import type { IntakeOptions } from './intake.ts'
import { WorkerPort, type WorkerPortOptions } from './port.ts'
import { isHandshake } from './protocol.ts'

/** What a bridge is built with. */
export interface BridgeOptions extends IntakeOptions {
  /** Undefined for the connection without one. */
  readonly namespace: string | undefined
  /** What one worker may have unconfirmed, in bytes. */
  readonly maxBytes: number
  /** Up to here QoS 0 counts as done for a worker when it is handed over, in bytes. */
  readonly window: number
  readonly log: Pick<FastifyBaseLogger, 'error'>
}

/** One connection's side of the worker threads that publish through it. Workers find it as soon as it exists. */
export class Bridge {
  readonly #options: WorkerPortOptions
  readonly #namespace: string
  readonly #ports = new Set<WorkerPort>()
  readonly #entry: HubEntry
  #closing: Promise<void> | undefined
  #closed = false

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
      hint: () => ({ prefix, version: version(), maxBytes }),
      accept: (port, threadId) => this.accept(port, threadId)
    }
    threadHub().register(this.#entry)
  }

  /** How many workers publish through this connection. */
  get workers (): number {
    return this.#ports.size
  }

  /** Takes a worker in by its end of a MessageChannel. */
  accept (port: MessagePort, threadId: number): void {
    const worker = new WorkerPort(port, threadId, this.#options)
    this.#ports.add(worker)
    if (this.#closed) this.#dismiss(worker)
  }

  /** See `MultiMqtt.attach`. Messages that are not ours are left alone, and nothing is ever sent to the worker's own port. */
  attach (workerOrPool: WorkerLike): void {
    workerOrPool.on('message', message => {
      if (this.#closed || !isHandshake(message) || message.namespace !== this.#namespace) return
      threadHub().claim(message, this.#entry)
    })
  }

  /** The connection's version is known, or another than before. */
  setVersion (version: ProtocolVersion): void {
    if (this.#closed) return
    threadHub().refresh()
    for (const port of this.#ports) port.setVersion(version)
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
    await nextTurn()
    await nextTurn()
    this.#closed = true
    threadHub().unregister(this.#entry)
    for (const port of this.#ports) this.#dismiss(port)
  }

  #dismiss (port: WorkerPort): void {
    port.drain()
    port.close()
  }
}

function nextTurn (): Promise<void> {
  return new Promise(resolve => { setImmediate(resolve) })
}
