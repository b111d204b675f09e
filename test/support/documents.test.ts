import { createServer, type AddressInfo } from 'node:net'
import t from 'tap'
import { extractBlocks, toModules } from './code-blocks.ts'
import { compileDocuments, runModule } from './documents.ts'
import { nextEvent } from './events.ts'
import { scratchProject } from './project.ts'

const FIXTURE = `# Title

Text with \`code\` in it.

\`\`\`ts
const n: number = 1
\`\`\`

<!-- continues -->

\`\`\`ts
if (n !== 1) throw new Error('the first block is gone')
\`\`\`

<!-- run: none -->
\`\`\`ts
process.exit(9)
\`\`\`

<!-- file: task.ts -->
\`\`\`ts
export const answer = 42
\`\`\`

- in a list:

  ~~~ts
  import { answer } from './task.ts'
  if (answer !== 42) throw new Error('wrong')
  ~~~

\`\`\`json
{ "a": [1] }
\`\`\`

\`\`\`\`text
\`\`\`ts
not code
\`\`\`
\`\`\`\`

\`\`\`sh
npm install fastify-multimqtt && echo "done"
\`\`\`
`

t.test('blocks and their directives', t => {
  const blocks = extractBlocks(FIXTURE)
  t.strictSame(
    blocks.map(({ language, line, runs, continues, file }) => [language, line, runs, continues, file]),
    [
      ['ts', 6, true, false, undefined],
      ['ts', 12, true, true, undefined],
      ['ts', 17, false, false, undefined],
      ['ts', 22, true, false, 'task.ts'],
      ['ts', 28, true, false, undefined],
      ['json', 33, true, false, undefined],
      ['text', 37, true, false, undefined],
      ['sh', 43, true, false, undefined]
    ]
  )
  t.equal(blocks[4]?.code.split('\n')[0], "import { answer } from './task.ts'", 'without the indent of the list')

  const modules = toModules(blocks)
  t.strictSame(modules.map(({ name, runs }) => [name, runs]), [
    ['line-6.ts', true], ['line-17.ts', false], ['task.ts', true], ['line-28.ts', true]
  ])
  const lines = (modules[0]?.code ?? '').split('\n')
  t.equal(lines[5], 'const n: number = 1')
  t.match(lines[11], /the first block is gone/, 'at the line where it stands in the document')
  t.strictSame(extractBlocks('```ts\nunclosed'), [{
    language: 'ts', code: 'unclosed', line: 2, runs: true, continues: false, file: undefined
  }])
  t.throws(() => toModules(extractBlocks('<!-- continues -->\n```ts\n```')), /line 3/)
  t.end()
})

t.test('a directive holds for the next fence only', t => {
  const [one, other] = extractBlocks('<!-- run: none -->\nWords.\n```ts\n```\n<!-- run: none -->\n~~~json\n~~~')
  t.equal(one?.runs, true)
  t.equal(other?.runs, false)
  t.end()
})

t.test('good blocks compile and run', async t => {
  const { folder } = scratchProject(t)
  const { modules, problems } = compileDocuments(folder, [{ name: 'README.md', text: FIXTURE }])
  t.strictSame(problems, [])
  for (const module of modules.filter(({ runs }) => runs)) {
    t.equal(await runModule(module, 1), undefined, module.name)
  }
})

t.test('bad blocks are found, with document and line', async t => {
  const { folder } = scratchProject(t)
  const text = [
    '```ts', 'const n: number = \'text\'', '```',
    '```json', '{', '```',
    '```sh', 'if true; then', '```',
    '```', 'no language', '```'
  ].join('\n')
  const { problems } = compileDocuments(folder, [{ name: 'docs/bad.md', text }])
  for (const problem of [/docs\/bad\.md:5: JSON/, /docs\/bad\.md:8: sh/, /docs\/bad\.md:11: unknown language ''/, /docs\/bad\/line-2\.ts\(2,7\): error TS2322/]) {
    t.ok(problems.some(it => problem.test(it)), String(problem))
  }
})

t.test('what goes wrong at run time is found', async t => {
  const { folder } = scratchProject(t)
  const bad = [
    'throw new Error(\'at once\')',
    'setTimeout(() => { throw new Error(\'a little later\') }, 20)',
    'Promise.reject(new Error(\'unhandled\'))',
    'process.exitCode = 3'
  ]
  const text = bad.map(code => `\`\`\`ts\n${code}\n\`\`\``).join('\n')
  const { modules } = compileDocuments(folder, [{ name: 'bad.md', text }])
  const wanted = [/at once/, /a little later/, /unhandled/, /ended with 3/]
  for (const [index, module] of modules.entries()) t.match(await runModule(module, 1), wanted[index])
})

t.test('the ports of examples are replaced', async t => {
  const broker = createServer(socket => { socket.end('I am the broker') }).listen(0, '127.0.0.1')
  await nextEvent(broker, 'listening')
  t.after(() => { broker.close() })
  const { folder } = scratchProject(t)
  const text = `\`\`\`ts
import { createServer, connect } from 'node:net'
import { get } from 'node:http'
import { text } from 'node:stream/consumers'
import Fastify from 'fastify'

if (await text(connect(1883, '127.0.0.1')) !== 'I am the broker') throw new Error('not the broker')
const app = Fastify()
app.get('/', async () => 'hello')
await app.listen({ port: 3000 })
const origin: string = 'http://localhost:3000'
if (await (await fetch(origin)).text() !== 'hello') throw new Error('not the application')
createServer().listen(80)
get(origin, response => { response.resume() })
\`\`\`
`
  const { modules, problems } = compileDocuments(folder, [{ name: 'ports.md', text }])
  t.strictSame(problems, [])
  for (const module of modules) t.equal(await runModule(module, (broker.address() as AddressInfo).port), undefined)
})
