import { execFile } from 'node:child_process'
import { join } from 'node:path'
import { extractBlocks, toModules, type CodeModule } from './code-blocks.ts'
import { PLAIN_NODE, run, runNode, TSC, writeInto } from './project.ts'

/** A Markdown file. */
export interface Document {
  /** Relative to the repository, such as `docs/errors.md`. */
  name: string
  text: string
}

/** A module that compiled. */
export interface CompiledModule extends CodeModule {
  document: string
  /** The compiled file. */
  path: string
}

/** What compiling a set of documents came to. */
export interface Compilation {
  modules: CompiledModule[]
  /** What is wrong with the blocks, each with document and line. */
  problems: string[]
}

const TIME_LIMIT = 20_000

/** Languages whose blocks need no check. A fence with none of the known languages is a problem: it might be code. */
const PROSE = ['text', 'ini', 'yaml', 'html', 'diff', 'mermaid', 'console']

const COMPILER_OPTIONS = {
  target: 'es2022',
  lib: ['es2023', 'esnext.decorators'],
  module: 'nodenext',
  moduleDetection: 'force',
  types: ['node'],
  rootDir: 'blocks',
  outDir: 'compiled',
  strict: true,
  rewriteRelativeImportExtensions: true,
  skipLibCheck: true
}

/** Checks the blocks of all documents inside a project and compiles the TypeScript ones in one go. */
export function compileDocuments (project: string, documents: readonly Document[]): Compilation {
  const problems: string[] = []
  const modules: CompiledModule[] = []
  for (const { name, text } of documents) {
    const blocks = extractBlocks(text)
    for (const block of blocks) {
      const problem = block.language === 'ts' || !block.runs ? undefined : check(block.language, block.code)
      if (problem !== undefined) problems.push(`${name}:${block.line}: ${problem}`)
    }
    const folder = name.replace(/\.md$/, '')
    for (const module of toModules(blocks)) {
      writeInto(project, join('blocks', folder, module.name), module.code + '\n')
      modules.push({
        ...module, document: name, path: join(project, 'compiled', folder, module.name.replace(/\.ts$/, '.js'))
      })
    }
  }
  if (modules.length > 0) {
    writeInto(project, 'tsconfig.json', JSON.stringify({ compilerOptions: COMPILER_OPTIONS, include: ['blocks'] }))
    const { ok, output } = runNode([TSC, '-p', '.', '--pretty', 'false'], project)
    if (!ok) problems.push(...output.trim().split('\n'))
  }
  return { modules, problems }
}

/** Runs a compiled module; resolves with what went wrong, or undefined. */
export async function runModule ({ path }: CompiledModule, brokerPort: number): Promise<string | undefined> {
  const runner = join(import.meta.dirname, 'run-block.js')
  return new Promise(resolve => {
    execFile(PLAIN_NODE.program, [...PLAIN_NODE.args, runner, path], {
      timeout: TIME_LIMIT,
      killSignal: 'SIGKILL',
      env: { ...process.env, BROKER_PORT: String(brokerPort) }
    }, (error, stdout, stderr) => {
      if (error === null) return resolve(undefined)
      const how = error.killed === true ? `was still running after ${TIME_LIMIT} ms` : `ended with ${String(error.code)}`
      resolve(`${how}\n${stdout}${stderr}`)
    })
  })
}

function check (language: string, code: string): string | undefined {
  if (language === 'json') {
    try {
      JSON.parse(code)
      return undefined
    } catch (error) {
      return `JSON: ${(error as Error).message}`
    }
  }
  if (language === 'sh') {
    const { ok, output } = run('bash', ['-n', '-c', code], process.cwd())
    return ok ? undefined : `sh: ${output.trim()}`
  }
  if (PROSE.includes(language)) return undefined
  return `unknown language '${language}': use ts, json, sh or ${PROSE.join(', ')}`
}
