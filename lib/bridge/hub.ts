import { getEnvironmentData, setEnvironmentData, threadId, type MessagePort } from 'node:worker_threads'
import { ENVIRONMENT_KEY, isHandshake, PROTOCOL, type ConnectionHint, type Environment, type Handshake } from './protocol.ts'

/** A connection that workers may publish through. */
export interface HubEntry {
  readonly namespace: string
  /** What workers spawned from now on are told. */
  hint (): Omit<ConnectionHint, 'threadId'>
  /** A worker asks for this connection. */
  accept (port: MessagePort, threadId: number): void
}

/** Where the workers of a process find the connections that live in this thread. */
export interface Hub {
  register (entry: HubEntry): void
  unregister (entry: HubEntry): void
  /** A hint has changed. */
  refresh (): void
  /** Gives the worker behind a handshake to one entry, unless another has taken it. */
  claim (handshake: Handshake, entry: HubEntry): void
}

class ThreadHub implements Hub {
  readonly #entries: HubEntry[] = []
  /** Attached twice, a handshake comes twice. */
  readonly #claimed = new WeakSet<MessagePort>()
  /** What the parent of this thread said: it holds again when nothing here is registered any more. */
  readonly #inherited = getEnvironmentData(ENVIRONMENT_KEY) as Environment | undefined
  readonly #onMessage = (value: unknown, source: number): void => {
    if (!isHandshake(value)) return
    // Several applications in one process: the last one registered that is still open.
    const entry = this.#entries.findLast(entry => entry.namespace === value.namespace)
    // Closed rather than left to lie, so that frames in it are not published long after the worker gave up.
    if (entry === undefined) value.port.close()
    else this.claim({ ...value, threadId: source }, entry)
  }

  register (entry: HubEntry): void {
    if (this.#entries.length === 0) process.on('workerMessage', this.#onMessage)
    this.#entries.push(entry)
    this.refresh()
  }

  unregister (entry: HubEntry): void {
    const index = this.#entries.indexOf(entry)
    if (index === -1) return
    this.#entries.splice(index, 1)
    if (this.#entries.length === 0) process.off('workerMessage', this.#onMessage)
    this.refresh()
  }

  refresh (): void {
    const environment = new Map(this.#inherited)
    for (const entry of this.#entries) environment.set(entry.namespace, { threadId, ...entry.hint() })
    setEnvironmentData(ENVIRONMENT_KEY, environment.size === 0 ? undefined : environment)
  }

  claim ({ port, threadId }: Handshake, entry: HubEntry): void {
    if (this.#claimed.has(port)) return
    this.#claimed.add(port)
    entry.accept(port, threadId)
  }
}

const kHub = Symbol.for(`fastify-multimqtt.hub.${PROTOCOL}`)

/** This thread's hub. Two copies of the package that speak the same protocol share it: both would answer a handshake. */
export function threadHub (): Hub {
  const shared = globalThis as { [kHub]?: Hub }
  return (shared[kHub] ??= new ThreadHub())
}
