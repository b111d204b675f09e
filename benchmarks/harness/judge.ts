import type { Results } from './rounds.ts'
import type { Cell, Goal, Scenario } from './scenario.ts'
import { ratio, summarize, type Summary } from './statistics.ts'

/** A figure of one competitor, over all rounds. */
export interface Figure extends Cell, Summary {
  readonly metric: string
}

/** What the first competitor of a scenario reached, as a multiple of another's. */
export interface Comparison extends Cell, Summary {
  readonly metric: string
}

/** A goal, and how far it is. */
export interface Verdict extends Goal, Summary {
  readonly met: boolean
}

/** A competitor that did not do its work in some round; the figures of its other rounds do not count. */
export interface Failure extends Cell {
  readonly reasons: readonly string[]
}

/** All that is to be said of a scenario's results. */
export interface Judgement {
  readonly figures: readonly Figure[]
  readonly comparisons: readonly Comparison[]
  readonly verdicts: readonly Verdict[]
  readonly failures: readonly Failure[]
}

export function judge (scenario: Scenario, results: Results): Judgement {
  const roundsOf = (cell: Cell, metric: string): number[] | undefined => {
    const found = results.series.find(series => series.case === cell.case && series.competitor === cell.competitor)
    // With a round missing the others no longer stand side by side.
    if (found === undefined || found.failures.length > 0) return undefined
    const rounds = found.rounds.map(figures => figures[metric])
    return rounds.every(it => it !== undefined) ? rounds as number[] : undefined
  }
  const figures: Figure[] = []
  const comparisons: Comparison[] = []
  for (const { case: name, competitor } of results.series) {
    for (const { name: metric } of scenario.metrics) {
      const own = roundsOf({ case: name, competitor }, metric)
      if (own === undefined) continue
      figures.push({ case: name, competitor, metric, ...summarize(own) })
      const ours = roundsOf({ case: name, competitor: scenario.competitors[0]! }, metric)
      if (ours !== undefined && competitor !== scenario.competitors[0]) {
        comparisons.push({ case: name, competitor, metric, ...ratio(ours, own) })
      }
    }
  }
  const verdicts = scenario.goals.flatMap((goal): Verdict[] => {
    const of = roundsOf(goal.of, goal.metric)
    const to = roundsOf(goal.to, goal.metric)
    if (of === undefined || to === undefined) return [] // Not measured this time, or failed.
    const reached = ratio(of, to)
    return [{ ...goal, ...reached, met: reached.median >= (goal.atLeast ?? 0) && reached.median <= (goal.atMost ?? Infinity) }]
  })
  const failures = results.series
    .filter(series => series.failures.length > 0)
    .map(({ case: name, competitor, failures: reasons }) => ({ case: name, competitor, reasons }))
  return { figures, comparisons, verdicts, failures }
}
