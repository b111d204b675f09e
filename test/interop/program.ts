import { spawn, type ChildProcessWithoutNullStreams } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { waitFor, withinTime } from '../support/events.ts'
import type { Owner } from '../support/folder.ts'

/** How a program ended. */
export interface Ending {
  code: number | null
  signal: NodeJS.Signals | null
  /** All that it wrote to stdout, and to stderr. */
  output: string
  errors: string
}

/** Somebody else's program, the other side of a test. */
export class Program {
  readonly child: ChildProcessWithoutNullStreams
  /** What it wrote to stdout. */
  readonly lines: string[] = []
  readonly #errors: Buffer[] = []
  readonly #output: Buffer[] = []
  readonly #ending: Promise<Ending>

  constructor (command: string, args: readonly string[], onLine: (line: string) => void) {
    this.child = spawn(command, args, { stdio: 'pipe' })
    this.child.stdin.on('error', () => {}) // It may end before it has read everything.
    this.child.stdout.on('data', (data: Buffer) => { this.#output.push(data) })
    this.child.stderr.on('data', (data: Buffer) => { this.#errors.push(data) })
    createInterface({ input: this.child.stdout, crlfDelay: Infinity }).on('line', line => {
      this.lines.push(line)
      onLine(line)
    })
    this.#ending = once(this.child, 'close').then(([code, signal]) => ({
      code, signal, output: Buffer.concat(this.#output).toString(), errors: this.errors
    }))
    this.#ending.catch(() => {}) // Whoever waits for the end is told.
  }

  get errors (): string { return Buffer.concat(this.#errors).toString() }

  /** Resolves with the first line that matches, and everything it captured. */
  async line (pattern: RegExp): Promise<RegExpExecArray> {
    let found: RegExpExecArray | null | undefined
    await waitFor(() => {
      found = this.lines.map(line => pattern.exec(line)).find(match => match !== null)
      if (found === undefined && this.child.exitCode !== null) throw new Error(`it ended without ${pattern}:\n${this.lines.join('\n')}\n${this.errors}`)
      return found !== undefined
    }, `a line like ${pattern}`)
    return found!
  }

  /** Resolves when it has ended by itself, and all that it wrote is here. */
  async end (): Promise<Ending> {
    return withinTime(this.#ending, `the end of ${this.child.spawnfile}`)
  }

  /** As a crash: nothing is said to anybody. */
  async kill (): Promise<Ending> {
    this.child.kill('SIGKILL')
    return this.end()
  }
}

/** Starts a program; it ends with the test. */
export function startProgram (
  t: Owner, command: string, args: readonly string[], onLine: (line: string) => void = () => {}
): Program {
  const program = new Program(command, args, onLine)
  t.after(() => { program.child.kill('SIGKILL') })
  return program
}
