import { execFileSync } from 'node:child_process'
import { cpSync, existsSync, mkdirSync, readdirSync, symlinkSync, writeFileSync } from 'node:fs'
import { dirname, join, resolve } from 'node:path'
import { temporaryFolder, type Owner } from './folder.ts'

/** The repository. Tests run from .build/test/support. */
export const ROOT = resolve(import.meta.dirname, '../../..')

/** TypeScript 7 has no API in JavaScript: it is a program. */
export const TSC = join(ROOT, 'node_modules/typescript/bin/tsc')

/** How a program ended that was expected to fail at times. */
export interface Outcome {
  ok: boolean
  /** Both streams. */
  output: string
}

/** Runs a program to its end. */
export function run (program: string, args: string[], cwd: string): Outcome {
  try {
    return { ok: true, output: execFileSync(program, args, { cwd, stdio: 'pipe', encoding: 'utf8', timeout: 60_000 }) }
  } catch (error) {
    const { stdout = '', stderr = '', message } = error as Error & { stdout?: string, stderr?: string }
    return { ok: false, output: `${stdout}${stderr}` || message }
  }
}

/**
 * The program and first arguments that run a plain Node. tap slips its own loaders into the NODE_OPTIONS of every child,
 * at the moment that it is spawned, and with those tsc does not even start.
 */
export const PLAIN_NODE = { program: 'env', args: ['-u', 'NODE_OPTIONS', process.execPath] } as const

/** Runs a plain Node to its end. */
export function runNode (args: string[], cwd: string): Outcome {
  return run(PLAIN_NODE.program, [...PLAIN_NODE.args, ...args], cwd)
}

/** Compiles lib and workers as `npm run build` does, but into a folder of its own: `build` would clean away this test. */
export function buildInto (folder: string): Outcome {
  return runNode([TSC, '-p', join(ROOT, 'tsconfig.json'), '--outDir', join(folder, 'dist')], ROOT)
}

/** What a published package has besides its code. */
export function copyManifest (folder: string): void {
  for (const name of ['package.json', 'README.md', 'LICENSE', 'lib', 'workers']) {
    const from = join(ROOT, name)
    if (existsSync(from)) cpSync(from, join(folder, name), { recursive: true })
  }
}

/**
 * A project of somebody else's: an empty ESM package whose dependencies are this repository's, and nothing comes from
 * the network. `fastify-multimqtt` is not among them; `packageFolder` is where it belongs.
 */
export function scratchProject (t: Owner): { folder: string, packageFolder: string } {
  const folder = temporaryFolder(t)
  const modules = join(folder, 'node_modules')
  mkdirSync(modules)
  writeFileSync(join(folder, 'package.json'), JSON.stringify({ name: 'scratch', private: true, type: 'module' }))
  for (const name of readdirSync(join(ROOT, 'node_modules'))) {
    if (!name.startsWith('.')) symlinkSync(join(ROOT, 'node_modules', name), join(modules, name))
  }
  return { folder, packageFolder: join(modules, 'fastify-multimqtt') }
}

/** The same with the package in place, as it stands in the working tree. */
export function projectWithPackage (t: Owner): string {
  const { folder, packageFolder } = scratchProject(t)
  mkdirSync(packageFolder)
  copyManifest(packageFolder)
  const built = buildInto(packageFolder)
  if (!built.ok) throw new Error(`the package does not compile:\n${built.output}`)
  return folder
}

/** Writes a file of a project, with the folders that it needs. */
export function writeInto (folder: string, name: string, text: string): string {
  const file = join(folder, name)
  mkdirSync(dirname(file), { recursive: true })
  writeFileSync(file, text)
  return file
}
