import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { compileDocuments, runModule, type Document } from './support/documents.ts'
import { mosquittoMissing, startMosquitto } from './support/mosquitto.ts'
import { projectWithPackage, ROOT } from './support/project.ts'

/*
 * Every code block of the documentation compiles against the package and runs beside a broker.
 * CONTRIBUTING.md says how a block is marked.
 */

t.setTimeout(240_000)

const documents: Document[] = ['README.md', ...filesOf('docs')]
  .filter(name => existsSync(join(ROOT, name)))
  .map(name => ({ name, text: readFileSync(join(ROOT, name), 'utf8') }))

t.test('the documentation', { skip: documents.length === 0 ? 'nothing is written yet' : false }, async t => {
  const project = projectWithPackage(t)
  const { modules, problems } = compileDocuments(project, documents)
  t.strictSame(problems, [], 'every block is sound')
  if (problems.length > 0) return

  await t.test('every block runs', { skip: mosquittoMissing() }, async t => {
    const { port } = await startMosquitto(t)
    const waiting = modules.filter(({ runs }) => runs)
    async function runNext (): Promise<void> {
      for (let module = waiting.shift(); module !== undefined; module = waiting.shift()) {
        t.equal(await runModule(module, port), undefined, `${module.document}:${module.line}`)
      }
    }
    await Promise.all([runNext(), runNext()])
  })
})

function filesOf (folder: string): string[] {
  if (!existsSync(join(ROOT, folder))) return []
  return readdirSync(join(ROOT, folder), { recursive: true, encoding: 'utf8' })
    .filter(name => name.endsWith('.md')).sort().map(name => join(folder, name))
}
