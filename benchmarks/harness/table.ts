import type { Judgement, Verdict } from './judge.ts'
import type { Metric, Scenario } from './scenario.ts'
import { MAX_SPREAD, type Summary } from './statistics.ts'

/** The results of a scenario as text: a block for each case, then the goals, then what was too noisy. */
export function printTable (scenario: Scenario, judgement: Judgement, loads: readonly number[]): string {
  const { figures, verdicts, failures } = judgement
  const lines = ['', `## ${scenario.name}: ${scenario.title}`]
  for (const name of new Set(figures.map(it => it.case))) {
    const metrics = scenario.metrics.filter(metric => figures.some(it => it.case === name && it.metric === metric.name))
    lines.push('', ...align([[name, ...metrics.map(({ title }) => title)], ...rows(scenario, judgement, name, metrics)]))
  }
  if (verdicts.length > 0) lines.push('', 'Goals', ...align(verdicts.map(verdictRow)))
  // The first line of a stack says what; the rest is in the JSON.
  for (const { case: name, competitor, reasons } of failures) {
    lines.push('', `FAILED in ${reasons.length} of the rounds: ${name}, ${competitor}`, `  ${reasons[0]!.split('\n', 1)[0]!}`)
  }
  lines.push('', ...noise(judgement, loads))
  return lines.join('\n')
}

function rows (scenario: Scenario, { figures, comparisons }: Judgement, name: string, metrics: readonly Metric[]): string[][] {
  const result: string[][] = []
  const competitors = [...new Set(figures.filter(it => it.case === name).map(it => it.competitor))]
  const cells = (list: ReadonlyArray<Summary & { case: string, competitor: string, metric: string }>, competitor: string): string[] =>
    metrics.map(metric => {
      const found = list.find(it => it.case === name && it.competitor === competitor && it.metric === metric.name)
      return found === undefined ? '' : range(found)
    })
  const inOrder = scenario.competitors.filter(it => competitors.includes(it))
  for (const competitor of inOrder) result.push([`  ${competitor}`, ...cells(figures, competitor)])
  for (const competitor of inOrder) {
    if (!comparisons.some(it => it.case === name && it.competitor === competitor)) continue
    result.push([`  ${scenario.competitors[0]!} : ${competitor}`, ...cells(comparisons, competitor)])
  }
  return result
}

function verdictRow (verdict: Verdict): string[] {
  const { metric, of, to, atLeast, atMost, met } = verdict
  const wanted = atLeast === undefined ? `<= ${atMost}` : `>= ${atLeast}`
  const between = of.competitor === to.competitor
    ? `${of.competitor}, "${of.case}" : "${to.case}"`
    : `${of.case === to.case ? `${of.case}, ` : ''}${of.competitor} : ${to.competitor}`
  return [met ? '  reached' : '  MISSED', `${wanted}`, range(verdict), `${metric}, ${between}`]
}

function noise ({ figures, verdicts }: Judgement, loads: readonly number[]): string[] {
  const noisy = figures.filter(it => it.noisy).map(it => `${it.case}/${it.competitor}/${it.metric}`)
  const unsure = verdicts.filter(it => it.noisy).length
  return [
    `Load of the machine after each round: ${loads.map(it => it.toFixed(1)).join(', ')}`,
    noisy.length === 0
      ? 'No figure was too noisy.'
      : `~ Too noisy, with rounds more than ${MAX_SPREAD * 100} % of the median apart: ${noisy.length} of ${figures.length} figures, ${unsure} of ${verdicts.length} goals.`
  ]
}

/** The median, with the least and the most of all rounds. */
function range ({ median, min, max, rounds, noisy }: Summary): string {
  const spread = rounds.length === 1 ? '' : ` (${short(min)}-${short(max)})`
  return `${short(median)}${spread}${noisy ? ' ~' : ''}`
}

/** Three digits that count, and a letter for thousands or millions. */
function short (value: number): string {
  if (Math.abs(value) >= 999_500) return `${(value / 1e6).toPrecision(3)} M`
  if (Math.abs(value) >= 9_995) return `${Number((value / 1e3).toPrecision(3))} k`
  return String(Number(value.toPrecision(3)))
}

function align (table: string[][]): string[] {
  const widths: number[] = []
  for (const row of table) row.forEach((cell, i) => { widths[i] = Math.max(widths[i] ?? 0, cell.length) })
  return table.map(row => row.map((cell, i) => cell.padEnd(widths[i]!)).join('  ').trimEnd())
}
