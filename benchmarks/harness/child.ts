import { SCENARIOS } from '../scenarios/index.ts'
import type { Job, Outcome } from './measurement.ts'

/* The process that measures: it is told what, says what came out, and ends. */

process.once('message', job => { void run(job as Job) })

async function run ({ scenario: name, case: caseName, competitor, seconds }: Job): Promise<void> {
  const scenario = SCENARIOS.find(it => it.name === name)
  const setting = scenario?.cases.find(it => it.name === caseName)?.setting
  let outcome: Outcome
  try {
    if (scenario === undefined) throw new Error(`There is no scenario "${name}"`)
    outcome = { figures: await scenario.measure(competitor, setting, seconds) }
  } catch (error) {
    outcome = { error: error instanceof Error ? error.stack ?? error.message : String(error) }
  }
  process.send!(outcome, () => {
    // What a competitor leaves open must not keep the next one waiting.
    process.exit('error' in outcome ? 1 : 0)
  })
}
