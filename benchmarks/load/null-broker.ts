import { fork, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { withinTime } from '../../test/support/events.ts'
import type { Command, Counts, FloodOptions, Listening } from '../broker/protocol.ts'
import type { Cleanup } from '../harness/cleanup.ts'

const ENTRY = new URL('../null-broker.js', import.meta.url)
/** On a busy machine it takes a while to catch up. */
const PATIENCE = { within: 30_000 }

/** The null broker, from the side of the process that measures. */
export class NullBroker {
  readonly url: string
  readonly #child: ChildProcess

  constructor (child: ChildProcess, port: number) {
    this.#child = child
    this.url = `mqtt://127.0.0.1:${port}`
  }

  async counts (): Promise<Counts> {
    return await this.#command({ do: 'count' })
  }

  async flood (options: FloodOptions): Promise<void> {
    await this.#command({ do: 'flood', options })
  }

  /** Resolves when what was sent is acknowledged. */
  async stopFlood (): Promise<Counts> {
    return await this.#command({ do: 'stop' })
  }

  async #command (command: Command): Promise<Counts> {
    const answer = once(this.#child, 'message')
    this.#child.send(command)
    const ended = once(this.#child, 'exit').then(() => { throw new Error('The null broker has ended') })
    ended.catch(() => {})
    const [counts] = await withinTime(Promise.race([answer, ended]), 'an answer of the null broker', PATIENCE) as [Counts]
    return counts
  }
}

export async function startNullBroker (owner: Cleanup): Promise<NullBroker> {
  // Options of the process that measures, such as a profiler's, are not for this one.
  const child = fork(ENTRY, [], { execArgv: [] })
  owner.after(() => child.kill())
  const [{ port }] = await withinTime(once(child, 'message'), 'the null broker', PATIENCE) as [Listening]
  return new NullBroker(child, port)
}

/** The part of the time in which the broker was busy: at 1 it is the broker that is measured. */
export function busy (before: Counts, after: Counts): number {
  const active = after.active - before.active
  return active / (active + after.idle - before.idle)
}
