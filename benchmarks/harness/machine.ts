import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { cpus, loadavg, totalmem } from 'node:os'

/** Where the figures come from: they mean nothing elsewhere. */
export interface Machine {
  readonly cpu: string
  readonly processors: number
  readonly memoryGiB: number
  readonly platform: string
  readonly node: string
  readonly v8: string
  readonly packages: Readonly<Record<string, string>>
}

const require = createRequire(import.meta.url)

export function describeMachine (packages: readonly string[]): Machine {
  const processors = cpus()
  return {
    cpu: processors[0]?.model.trim() ?? 'unknown',
    processors: processors.length,
    memoryGiB: Math.round(totalmem() / 2 ** 30),
    platform: `${process.platform} ${process.arch}`,
    node: process.version,
    v8: process.versions.v8,
    packages: Object.fromEntries(packages.map(name => [name, versionOf(name)]))
  }
}

/** How many wanted a processor in the last minute, the benchmarks included. */
export function load (): number {
  return loadavg()[0]!
}

/** Not every package lets its package.json be imported, so its folder is looked for. */
function versionOf (name: string): string {
  for (const folder of require.resolve.paths(name) ?? []) {
    try {
      return (JSON.parse(readFileSync(`${folder}/${name}/package.json`, 'utf8')) as { version: string }).version
    } catch {}
  }
  return 'not found'
}
