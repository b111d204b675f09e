import { execFile } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { PLAIN_NODE } from '../support/project.ts'

/** How an example ended by itself. */
export interface Ended {
  code: number | string | null
  lines: string[]
  stderr: string
}

/** Runs a compiled example to its end, as a reader would. */
export async function runExample (name: string): Promise<Ended> {
  const file = fileURLToPath(new URL(`../../examples/${name}.js`, import.meta.url))
  return await new Promise(resolve => {
    execFile(PLAIN_NODE.program, [...PLAIN_NODE.args, file], { timeout: 60_000, killSignal: 'SIGKILL' }, (error, stdout, stderr) => {
      resolve({ code: error === null ? 0 : error.code ?? error.signal ?? null, lines: stdout.split('\n'), stderr })
    })
  })
}
