import { parseArgs } from 'node:util'

/** What the command line asks for. */
export interface BenchOptions {
  /** Names of scenarios; none for all. */
  readonly scenarios: readonly string[]
  readonly rounds: number
  readonly seconds: number
  /** Where the figures go, as JSON. */
  readonly json: string | undefined
  /** Only cases and competitors whose names hold this. */
  readonly only: { readonly case: string | undefined, readonly competitor: string | undefined }
  /** A folder for CPU profiles of every measurement. */
  readonly profile: string | undefined
}

export const USAGE = `node .build/benchmarks/run.js [scenario...] [options]

  --rounds <n>         how often each measurement is done, interleaved (5)
  --seconds <n>        how long each takes, without starting and warming up (2)
  --json <file>        writes all figures, with versions and machine
  --case <text>        only cases whose name holds this
  --competitor <text>  only competitors whose name holds this
  --profile <folder>   writes a CPU profile of each measurement; its figures are not worth much
`

export function readOptions (args: string[]): BenchOptions | undefined {
  const { values, positionals } = parseArgs({
    args,
    allowPositionals: true,
    options: {
      rounds: { type: 'string', default: '5' },
      seconds: { type: 'string', default: '2' },
      json: { type: 'string' },
      case: { type: 'string' },
      competitor: { type: 'string' },
      profile: { type: 'string' },
      help: { type: 'boolean', default: false }
    }
  })
  if (values.help === true) return undefined
  return {
    scenarios: positionals,
    rounds: positive('rounds', values.rounds),
    seconds: positive('seconds', values.seconds),
    json: values.json,
    only: { case: values.case, competitor: values.competitor },
    profile: values.profile
  }
}

function positive (name: string, text: string | undefined): number {
  const value = Number(text)
  if (!(value > 0)) throw new Error(`--${name} must be a number above 0`)
  return value
}
