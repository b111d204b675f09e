import { execFile } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import { competitorsOf } from '../../benchmarks/harness/scenario.ts'
import { SCENARIOS } from '../../benchmarks/scenarios/index.ts'
import { temporaryFolder } from '../support/folder.ts'
import { mosquittoMissing } from '../support/mosquitto.ts'
import { PLAIN_NODE } from '../support/project.ts'

/*
 * Every measurement is made once, and too shortly to say anything but that all messages arrived, which each of them checks.
 * The figures are looked at by people; docs/performance.md has some.
 */

t.setTimeout(600_000)

const RUN = fileURLToPath(new URL('../../benchmarks/run.js', import.meta.url))

interface Report {
  reports: Array<{ figures: Array<{ case: string, competitor: string, metric: string, median: number }>, failures: unknown[] }>
}

for (const scenario of SCENARIOS) {
  const { name, cases, metrics } = scenario
  t.test(`benchmark ${name}`, { skip: name === 'publish-mosquitto' && mosquittoMissing() }, async t => {
    const json = join(temporaryFolder(t), 'figures.json')
    const ended = await bench([name, '--rounds', '1', '--seconds', '0.1', '--json', json])
    t.equal(ended.code, 0, 'nothing failed', { output: ended.output })
    const { figures, failures } = (JSON.parse(readFileSync(json, 'utf8')) as Report).reports[0]!
    t.same(failures, [])
    const [main] = metrics
    for (const one of cases) {
      for (const competitor of competitorsOf(scenario, one)) {
        const figure = figures.find(it => it.case === one.name && it.competitor === competitor && it.metric === main!.name)
        t.ok(figure !== undefined && figure.median > 0, `${one.name}, ${competitor}`)
      }
    }
    t.comment(`${figures.length} figures`)
  })
}

/** As a user runs them: tap's own loaders are not for children. */
async function bench (args: string[]): Promise<{ code: number | string | null, output: string }> {
  return await new Promise(resolve => {
    execFile(PLAIN_NODE.program, [...PLAIN_NODE.args, RUN, ...args], { timeout: 300_000, killSignal: 'SIGKILL' }, (error, stdout, stderr) => {
      resolve({ code: error === null ? 0 : error.code ?? error.signal ?? null, output: `${stdout}${stderr}` })
    })
  })
}
