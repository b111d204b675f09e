import { BroadcastChannel, getEnvironmentData, setEnvironmentData, threadId, type MessagePort } from 'node:worker_threads'
import {
  ENVIRONMENT_KEY, foreignHandshake, isHandshake, isSpare, MARK, NEWS_CHANNEL, PROTOCOL, SPARE_CHANNEL,
  type ConnectionHint, type Environment, type Handshake, type MismatchMessage, type OpenedMessage, type SpareMessage
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

/** By then whatever a worker has sent has arrived. */
const ARRIVALS_WAIT = 10_000

class ThreadHub implements Hub {
  readonly #entries: HubEntry[] = []
  readonly #arrivals = new Recent<Arrival>()
  /** Which attempt of a worker was told last that nobody is here: what it had broadcast until then is not taken, or its `maybeSent` would be wrong. */
  readonly #turnedAway = new Recent<number>()
  /** That handshakes have brought. */
  readonly #ports = new WeakSet<MessagePort>()
  /** Broadcast by workers whose handshake may yet come; true behind those whose handshake would have come by now. */
  readonly #spares = new Map<SpareMessage, boolean>()
  #channel: BroadcastChannel | undefined
  /** What the parent of this thread said: it holds again when nothing here is registered any more. */
  readonly #inherited = getEnvironmentData(ENVIRONMENT_KEY) as Environment | undefined

  register (entry: HubEntry): void {
    if (this.#entries.length === 0) this.#open()
    this.#entries.push(entry)
    this.refresh()
    announce(entry.namespace)
  }

  unregister (entry: HubEntry): void {
    const index = this.#entries.indexOf(entry)
    if (index === -1) return
    // Of the others the worker is told by its handshake, when it comes, that nobody is here.
    for (const [spare, overdue] of this.#spares) if (overdue) this.#adopt(spare)
    this.#entries.splice(index, 1)
    // A handshake that another thread passes on may come yet. After that its workers would keep it in memory.
    setTimeout(() => { this.#arrivals.forget(arrival => arrival.entry === entry) }, ARRIVALS_WAIT).unref()
    if (this.#entries.length === 0) this.#close()
    this.refresh()
  }

  refresh (): void {
    const environment = new Map(this.#inherited)
    for (const entry of this.#entries) environment.set(entry.namespace, { threadId, ...entry.hint() })
    setEnvironmentData(ENVIRONMENT_KEY, environment.size === 0 ? undefined : environment)
  }

  claim (handshake: Handshake, entry: HubEntry): void {
    const { client, port } = handshake
    // A pool that is attached twice brings a handshake twice.
    if (this.#ports.has(port)) return
    this.#ports.add(port)
    const arrival = this.#arrivals.get(client)
    if (arrival?.handshake === true) {
      // A worker that did not know yet whether the last one had come: it has its answer there.
      port.close()
      return
    }
    if (arrival !== undefined) arrival.handshake = true
    else this.#arrivals.set(client, { entry, handshake: true })
    ;(arrival?.entry ?? entry).accept(handshake)
  }

  #open (): void {
    // Before those of the application: one that throws over what it does not know would keep ours from running.
    process.prependListener('workerMessage', this.#onWorkerMessage)
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
    if (!isHandshake(value)) {
      refuseForeign(value)
      return
    }
    const entry = this.#find(value.namespace, source)
    // Closed rather than left to lie, so that frames in it are not published long after the worker gave up.
    if (entry === undefined) {
      this.#turnedAway.set(value.client, value.attempt)
      value.port.close()
    } else this.claim({ ...value, threadId: source }, entry)
  }

  #onSpare (value: unknown): void {
    if (!isSpare(value) || value.owner !== threadId) return
    this.#spares.set(value, false)
    // The handshake was posted before. If it has not been read by then, it never will be, but for one that another
    // thread has yet to pass on; that one is given to whoever has adopted its worker.
    setImmediate(() => {
      if (this.#spares.has(value)) this.#spares.set(value, true)
      setImmediate(() => this.#adopt(value))
    })
  }

  #adopt (spare: SpareMessage): void {
    if (!this.#spares.delete(spare) || spare.attempt <= (this.#turnedAway.get(spare.client) ?? 0)) return
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

/** By a channel of its own that is closed again: one that is open would get what other threads say. */
function announce (namespace: string): void {
  const channel = new BroadcastChannel(NEWS_CHANNEL)
  channel.postMessage({ ns: MARK, protocol: PROTOCOL, namespace, opened: threadId } satisfies OpenedMessage)
  channel.close()
}

/** Two versions of the package that do not understand each other may both be here. Each answers its own workers; without it the other says so. */
function refuseForeign (value: unknown): void {
  const foreign = foreignHandshake(value)
  if (foreign === undefined || Object.hasOwn(globalThis, Symbol.for(`${HUB}.${foreign.protocol}`))) return
  foreign.port.postMessage({ type: 'mismatch', protocol: PROTOCOL } satisfies MismatchMessage)
  foreign.port.close()
}

const HUB = 'fastify-multimqtt.hub'
const kHub = Symbol.for(`${HUB}.${PROTOCOL}`)

/** This thread's hub. Two copies of the package that speak the same protocol share it: both would answer a handshake. */
export function threadHub (): Hub {
  const shared = globalThis as { [kHub]?: Hub }
  return (shared[kHub] ??= new ThreadHub())
}
