import { BroadcastChannel, getEnvironmentData, setEnvironmentData, threadId } from 'node:worker_threads'
import {
  ENVIRONMENT_KEY, isHandshake, isSpare, PROTOCOL, SPARE_CHANNEL,
  type ConnectionHint, type Environment, type Handshake, type SpareMessage
} from './protocol.ts'
import { Recent } from './recent.ts'

/** A connection that workers may publish through. */
export interface HubEntry {
  readonly namespace: string
  /** Whether this worker was given to this connection by `attach`. */
  owns (threadId: number): boolean
  /** What workers spawned from now on are told. */
  hint (): Omit<ConnectionHint, 'threadId'>
  /** A worker asks for this connection. */
  accept (handshake: Handshake): void
  /** A worker said this, and no handshake of it has arrived. */
  adopt (spare: SpareMessage): void
}

/** Where the workers of a process find the connections that live in this thread. */
export interface Hub {
  register (entry: HubEntry): void
  unregister (entry: HubEntry): void
  /** A hint has changed. */
  refresh (): void
  /** Gives the worker behind a handshake to an entry, unless it belongs to one already. */
  claim (handshake: Handshake, entry: HubEntry): void
}

/** What became of a worker: asked by its handshake, or taken in by what it had broadcast. */
interface Arrival {
  readonly entry: HubEntry
  handshake: boolean
}

class ThreadHub implements Hub {
  readonly #entries: HubEntry[] = []
  readonly #arrivals = new Recent<Arrival>()
  /** Broadcast by workers whose handshake may yet come. */
  readonly #spares = new Set<SpareMessage>()
  #channel: BroadcastChannel | undefined
  /** What the parent of this thread said: it holds again when nothing here is registered any more. */
  readonly #inherited = getEnvironmentData(ENVIRONMENT_KEY) as Environment | undefined

  register (entry: HubEntry): void {
    if (this.#entries.length === 0) this.#open()
    this.#entries.push(entry)
    this.refresh()
  }

  unregister (entry: HubEntry): void {
    const index = this.#entries.indexOf(entry)
    if (index === -1) return
    for (const spare of this.#spares) this.#adopt(spare)
    this.#entries.splice(index, 1)
    if (this.#entries.length === 0) this.#close()
    this.refresh()
  }

  refresh (): void {
    const environment = new Map(this.#inherited)
    for (const entry of this.#entries) environment.set(entry.namespace, { threadId, ...entry.hint() })
    setEnvironmentData(ENVIRONMENT_KEY, environment.size === 0 ? undefined : environment)
  }

  claim (handshake: Handshake, entry: HubEntry): void {
    const arrival = this.#arrivals.get(handshake.client)
    // A pool that is attached twice brings a handshake twice.
    if (arrival?.handshake === true) return
    if (arrival !== undefined) arrival.handshake = true
    else this.#arrivals.set(handshake.client, { entry, handshake: true })
    ;(arrival?.entry ?? entry).accept(handshake)
  }

  #open (): void {
    process.on('workerMessage', this.#onWorkerMessage)
    this.#channel = new BroadcastChannel(SPARE_CHANNEL)
    this.#channel.onmessage = event => this.#onSpare((event as { data: unknown }).data)
    this.#channel.unref()
  }

  #close (): void {
    process.off('workerMessage', this.#onWorkerMessage)
    this.#channel?.close()
  }

  /** Several applications in one process: the one that the worker was attached to, else the last one registered that is still open. */
  #find (namespace: string, threadId: number): HubEntry | undefined {
    const entries = this.#entries.filter(entry => entry.namespace === namespace)
    return entries.findLast(entry => entry.owns(threadId)) ?? entries.at(-1)
  }

  readonly #onWorkerMessage = (value: unknown, source: number): void => {
    if (!isHandshake(value)) return
    const entry = this.#find(value.namespace, source)
    // Closed rather than left to lie, so that frames in it are not published long after the worker gave up.
    if (entry === undefined) value.port.close()
    else this.claim({ ...value, threadId: source }, entry)
  }

  #onSpare (value: unknown): void {
    if (!isSpare(value) || value.owner !== threadId) return
    this.#spares.add(value)
    // The handshake was posted before. If it has not been read by then, it never will be, but for one that another
    // thread has yet to pass on; that one is given to whoever has adopted its worker.
    setImmediate(() => setImmediate(() => this.#adopt(value)))
  }

  #adopt (spare: SpareMessage): void {
    if (!this.#spares.delete(spare)) return
    let arrival = this.#arrivals.get(spare.client)
    if (arrival === undefined) {
      const entry = this.#find(spare.namespace, spare.threadId)
      if (entry === undefined) return
      arrival = { entry, handshake: false }
      this.#arrivals.set(spare.client, arrival)
    }
    if (!arrival.handshake) arrival.entry.adopt(spare)
  }
}

const kHub = Symbol.for(`fastify-multimqtt.hub.${PROTOCOL}`)

/** This thread's hub. Two copies of the package that speak the same protocol share it: both would answer a handshake. */
export function threadHub (): Hub {
  const shared = globalThis as { [kHub]?: Hub }
  return (shared[kHub] ??= new ThreadHub())
}
