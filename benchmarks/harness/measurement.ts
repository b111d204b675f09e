import { fork } from 'node:child_process'
import type { Figures } from './scenario.ts'

/** One measurement: one competitor, one case, one round. */
export interface Job {
  readonly scenario: string
  readonly case: string
  readonly competitor: string
  readonly seconds: number
}

/** What the process that measures says in the end. */
export type Outcome = { readonly figures: Figures } | { readonly error: string }

/** Starting, warming up and ending take time of their own, on a busy machine a lot of it. */
const GRACE = 60_000

/** Measures in a fresh process, so that nothing that an earlier one compiled or kept in memory counts. */
export async function measureApart (entry: URL, job: Job, profile: string | undefined): Promise<Figures> {
  const execArgv = profile === undefined ? [] : ['--cpu-prof', `--cpu-prof-dir=${profile}`]
  const child = fork(entry, [], { execArgv, stdio: ['ignore', 'inherit', 'inherit', 'ipc'] })
  let outcome: Outcome | undefined
  child.on('message', message => { outcome = message as Outcome })
  const limit = setTimeout(() => { child.kill('SIGKILL') }, GRACE + job.seconds * 10_000)
  const ended = new Promise<number | null>((resolve, reject) => {
    child.once('close', resolve)
    child.once('error', reject)
  })
  child.send(job)
  const code = await ended.finally(() => { clearTimeout(limit) })
  const where = `${job.scenario}, ${job.case}, ${job.competitor}`
  if (outcome === undefined) throw new Error(`${where}: ended with ${code ?? 'a signal'} before it had measured`)
  if ('error' in outcome) throw new Error(`${where}: ${outcome.error}`)
  return outcome.figures
}
