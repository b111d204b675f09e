import { execFileSync } from 'node:child_process'
import { mkdirSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { temporaryFolder } from './support/folder.ts'
import { buildInto, copyManifest, ROOT, runNode, scratchProject, TSC, writeInto } from './support/project.ts'

/* The package as npm would publish it, in a project of somebody else's. Nothing comes from the network. */

t.setTimeout(120_000)

/** What must not be loaded in a worker, not even by a dependency. */
const HEAVY = ['mqtt', 'fastify', 'fastify-plugin', 'typebox', 'aedes', 'piscina', 'ws', 'ajv', 'pino']

const manifest = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')) as {
  dependencies: Record<string, string>
  peerDependencies: Record<string, string>
  exports: Record<string, string | { types: string, default: string }>
}

/** A preload that notes every module that is imported in a file. */
const recorderTo = (list: string): string => `
import { register } from 'node:module'
register('data:text/javascript,' + encodeURIComponent(\`
import { appendFileSync } from 'node:fs'
export async function load (url, context, next) {
  appendFileSync(${JSON.stringify(list)}, url + '\\\\n')
  return next(url, context)
}\`))
`

t.test('the published package', async t => {
  const stage = temporaryFolder(t)
  copyManifest(stage)
  const built = buildInto(stage)
  t.ok(built.ok, 'it compiles', { output: built.output })
  if (!built.ok) return

  const { folder, packageFolder } = scratchProject(t)
  const files = packInto(stage, packageFolder)

  t.test('holds what it should and nothing else', t => {
    for (const { types, default: code } of entries()) {
      t.ok(files.includes(types), types)
      t.ok(files.includes(code), code)
    }
    t.ok(files.includes('LICENSE'))
    const top = [...new Set(files.map(file => file.split('/', 1)[0]))].sort()
    t.strictSame(top.filter(name => name !== 'README.md'), ['LICENSE', 'dist', 'lib', 'package.json', 'workers'])
    t.strictSame(files.filter(file => /(^|\/)test|tsbuildinfo|\.test\./.test(file)), [])
    t.end()
  })

  t.test('declares what it imports', t => {
    const declared = new Set([...Object.keys(manifest.dependencies), ...Object.keys(manifest.peerDependencies)])
    const phantom = files.filter(file => /\.(js|d\.ts)$/.test(file)).flatMap(file => {
      const text = readFileSync(join(packageFolder, file), 'utf8').replace(/\/\*[\s\S]*?\*\//g, '')
      const specifiers = [...text.matchAll(/(?:\bfrom|\bimport|\bimport\(|declare module)\s*'([^'.][^']*)'/g)]
        .map(match => match[1] as string)
      return specifiers.filter(it => !it.startsWith('node:') && !declared.has(packageOf(it))).map(it => `${file}: ${it}`)
    })
    t.strictSame(phantom, [])
    t.end()
  })

  t.test('is loaded by import and by require, without a warning', t => {
    const check = `
      if (typeof plugin !== 'function') throw new Error('the plugin is a ' + typeof plugin)
      console.log(plugin[Symbol.for('plugin-meta')].name)
    `
    const flags = ['--trace-warnings', '--pending-deprecation']
    const esm = node(folder, flags, 'esm.mjs', `import plugin from 'fastify-multimqtt'\n${check}`)
    t.strictSame(esm, { ok: true, output: 'fastify-multimqtt\n' })
    const cjs = node(folder, flags, 'cjs.cjs', `const { default: plugin } = require('fastify-multimqtt')\n${check}`)
    t.strictSame(cjs, { ok: true, output: 'fastify-multimqtt\n' })
    const registered = node(folder, flags, 'register.cjs', `
      const app = require('fastify')()
      app.register(require('fastify-multimqtt'), { connect: false })
      app.ready().then(() => { console.log(typeof app.mqtt.publish); return app.close() })
    `)
    t.strictSame(registered, { ok: true, output: 'function\n' })
    for (const name of Object.keys(manifest.exports)) {
      const entry = name.replace('.', 'fastify-multimqtt')
      t.match(node(folder, flags, 'entry.cjs', `require('${entry}')`), { ok: true, output: '' }, `require('${entry}')`)
    }
    const inside = node(folder, [], 'inside.mjs', "import 'fastify-multimqtt/dist/lib/plugin.js'")
    t.match(inside, { ok: false, output: /ERR_PACKAGE_PATH_NOT_EXPORTED/ }, 'nothing else can be imported')
    t.end()
  })

  t.test('what a worker loads is light', t => {
    const loaded = loadedBy(folder, 'fastify-multimqtt/worker')
    t.ok(loaded.some(url => url.endsWith('/dist/workers/index.js')))
    t.strictSame(loaded.filter(url => HEAVY.includes(packageOfUrl(url))), [])
    t.end()
  })

  t.test('topics has no dependency at all, not even on Node', t => {
    const loaded = loadedBy(folder, 'fastify-multimqtt/topics')
    t.ok(loaded.some(url => url.endsWith('/dist/lib/topics/index.js')))
    t.strictSame(loaded.filter(url => !url.includes('/fastify-multimqtt/dist/lib/topics/')), [])
    t.end()
  })

  t.test('its types hold in a strict project', t => {
    writeInto(folder, 'consumer.ts', `
      import Fastify from 'fastify'
      import multimqtt from 'fastify-multimqtt'
      import { mqtt } from 'fastify-multimqtt/worker'
      import { defineTopic } from 'fastify-multimqtt/topics'
      const app = Fastify()
      await app.register(multimqtt, { url: 'mqtt://127.0.0.1' })
      const number = app.mqtt.topic('number/<int:n>', message => { const n: number = message.params.n; return n })
      number.topicFor({ n: 1 })
      // @ts-expect-error a number is wanted
      defineTopic('number/<int:n>').topicFor({ n: 'one' })
      await mqtt.publish('a', { b: 1 }, { qos: 1 })
    `)
    writeInto(folder, 'tsconfig.json', JSON.stringify({
      compilerOptions: {
        target: 'es2022',
        lib: ['es2023', 'esnext.decorators'],
        module: 'nodenext',
        types: ['node'],
        strict: true,
        exactOptionalPropertyTypes: true,
        skipLibCheck: false,
        noEmit: true
      },
      files: ['consumer.ts']
    }))
    const { output } = runNode([TSC, '-p', '.', '--pretty', 'false'], folder)
    // Without skipLibCheck other packages' declarations are checked too, and are not ours to mend.
    t.strictSame(output.split('\n').filter(line => /^(consumer|node_modules\/fastify-multimqtt)/.test(line)), [])
    t.end()
  })
})

/** Packs as npm does and unpacks the archive; gives its files. `prepare` would rebuild the tests' runner. */
function packInto (stage: string, folder: string): string[] {
  const npm = ['pack', '--ignore-scripts', '--offline', '--json', '--loglevel=error']
  const [packed] = JSON.parse(execFileSync('npm', npm, { cwd: stage, stdio: ['ignore', 'pipe', 'pipe'], encoding: 'utf8' })) as
    Array<{ filename: string, files: Array<{ path: string }> }>
  if (packed === undefined) throw new Error('npm packed nothing')
  mkdirSync(folder)
  execFileSync('tar', ['-xzf', join(stage, packed.filename), '--strip-components=1', '-C', folder])
  return readdirSync(folder, { recursive: true, withFileTypes: true, encoding: 'utf8' })
    .filter(entry => entry.isFile())
    .map(entry => join(entry.parentPath, entry.name).slice(folder.length + 1))
}

function entries (): Array<{ types: string, default: string }> {
  return Object.values(manifest.exports).filter(it => typeof it === 'object')
    .map(it => ({ types: it.types.slice(2), default: it.default.slice(2) }))
}

function node (folder: string, flags: string[], name: string, code: string): { ok: boolean, output: string } {
  const file = writeInto(folder, name, code)
  return runNode([...flags, file], folder)
}

/** The URLs of all modules that an entry loads, and the files that were required. */
function loadedBy (folder: string, entry: string): string[] {
  const list = writeInto(folder, 'loaded.txt', '')
  const recorder = writeInto(folder, 'recorder.mjs', recorderTo(list))
  const file = writeInto(folder, 'load.mjs', `
    import { createRequire } from 'node:module'
    import '${entry}'
    console.log(Object.keys(createRequire(import.meta.url).cache).join('\\n'))
  `)
  const { ok, output } = runNode(['--import', recorder, file], folder)
  if (!ok) throw new Error(output)
  return [...readFileSync(list, 'utf8').split('\n'), ...output.split('\n')]
    .filter(url => url !== '' && !url.endsWith('/load.mjs') && !url.endsWith('/recorder.mjs') && url !== 'node:module')
}

function packageOfUrl (url: string): string {
  const inside = url.split('/node_modules/').at(-1) ?? ''
  return url.includes('/node_modules/') ? packageOf(inside) : url
}

/** `@scope/name` or `name`. */
function packageOf (specifier: string): string {
  return specifier.split('/', specifier.startsWith('@') ? 2 : 1).join('/')
}
