import { load } from './machine.ts'
import type { Job } from './measurement.ts'
import { competitorsOf, type Figures, type Scenario } from './scenario.ts'

/** What one competitor reached in one case, round by round. */
export interface Series {
  readonly case: string
  readonly competitor: string
  readonly rounds: Figures[]
  /** Why rounds have no figures: the work was not done, or not done right. */
  readonly failures: string[]
}

/** All figures of a scenario. */
export interface Results {
  readonly series: readonly Series[]
  /** The machine's load after each round. */
  readonly loads: readonly number[]
}

export interface RoundOptions {
  readonly rounds: number
  readonly seconds: number
  readonly only: { readonly case: string | undefined, readonly competitor: string | undefined }
  readonly measure: (job: Job) => Promise<Figures>
  readonly onProgress: (text: string) => void
}

/**
 * Measures everything once, then everything again: what disturbs the machine for a while disturbs all. Within a case the
 * competitors take turns at going first.
 */
export async function runRounds (scenario: Scenario, { rounds, seconds, only, measure, onProgress }: RoundOptions): Promise<Results> {
  const groups = scenario.cases
    .filter(({ name }) => name.includes(only.case ?? ''))
    .map(it => competitorsOf(scenario, it)
      .filter(name => name.includes(only.competitor ?? ''))
      .map((competitor): Series => ({ case: it.name, competitor, rounds: [], failures: [] })))
  const loads: number[] = []
  for (let round = 0; round < rounds; round++) {
    for (const group of groups) {
      for (let i = 0; i < group.length; i++) {
        const series = group[(i + round) % group.length]!
        onProgress(`round ${round + 1} of ${rounds}: ${scenario.name}, ${series.case}, ${series.competitor}`)
        try {
          series.rounds.push(await measure({ scenario: scenario.name, case: series.case, competitor: series.competitor, seconds }))
        } catch (error) {
          series.failures.push((error as Error).message)
        }
      }
    }
    loads.push(load())
  }
  return { series: groups.flat(), loads }
}
