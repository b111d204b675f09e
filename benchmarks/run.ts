import { mkdirSync, writeFileSync } from 'node:fs'
import { judge } from './harness/judge.ts'
import { describeMachine } from './harness/machine.ts'
import { measureApart } from './harness/measurement.ts'
import { readOptions, USAGE, type BenchOptions } from './harness/options.ts'
import { runRounds } from './harness/rounds.ts'
import { printTable } from './harness/table.ts'
import { PACKAGES, SCENARIOS } from './scenarios/index.ts'

const CHILD = new URL('./harness/child.js', import.meta.url)

const options = readOptions(process.argv.slice(2))
if (options === undefined) console.log(`${USAGE}\nScenarios: ${SCENARIOS.map(({ name }) => name).join(', ')}`)
else await run(options)

async function run ({ scenarios: names, rounds, seconds, json, only, profile }: BenchOptions): Promise<void> {
  const unknown = names.filter(name => !SCENARIOS.some(it => it.name === name))
  if (unknown.length > 0) throw new Error(`There is no scenario "${unknown.join('", "')}"; there are ${SCENARIOS.map(({ name }) => name).join(', ')}`)
  if (profile !== undefined) mkdirSync(profile, { recursive: true })
  const machine = describeMachine(PACKAGES)
  console.log(`${machine.cpu}, ${machine.processors} processors, ${machine.platform}, Node ${machine.node}`)
  console.log(Object.entries(machine.packages).map(pair => pair.join(' ')).join(', '))
  console.log(`Medians of ${rounds} rounds of ${seconds} s, with the least and the most. Ratios are taken round by round.`)

  const reports = []
  for (const scenario of SCENARIOS.filter(({ name }) => names.length === 0 || names.includes(name))) {
    const results = await runRounds(scenario, {
      rounds,
      seconds,
      only,
      measure: job => measureApart(CHILD, job, profile),
      onProgress: text => { if (process.stderr.isTTY) process.stderr.write(`\r\u001b[K${text}`) }
    })
    if (process.stderr.isTTY) process.stderr.write('\r\u001b[K')
    const judgement = judge(scenario, results)
    if (judgement.failures.length > 0) process.exitCode = 1
    console.log(printTable(scenario, judgement, results.loads))
    reports.push({ scenario: scenario.name, title: scenario.title, loads: results.loads, ...judgement })
  }
  if (json !== undefined) {
    const text = JSON.stringify({ date: new Date().toISOString(), rounds, seconds, machine, reports }, null, 2)
    writeFileSync(json, `${text}\n`)
  }
}
