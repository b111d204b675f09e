import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { connectClient } from '../support/client.ts'
import { compileDocuments } from '../support/documents.ts'
import { waitFor, withinTime } from '../support/events.ts'
import { startMosquitto } from '../support/mosquitto.ts'
import { freePort } from '../support/ports.ts'
import { PLAIN_NODE, projectWithPackage, ROOT } from '../support/project.ts'
import { skip } from '../faults/fixtures/storms.ts'
import { runs } from './fixtures/runs.ts'

/* The example of docs/scaling.md: it is more than one process, and so more than test/docs.test.ts runs. */

t.setTimeout(180_000)

const SLOTS = ['0', '1', '2', '3']
const COUNT = 40
const PATIENCE = { within: 30_000 }

t.test('the cluster of docs/scaling.md', { skip }, async t => {
  const project = projectWithPackage(t)
  const name = 'docs/scaling.md'
  const { modules, problems } = compileDocuments(project, [{ name, text: readFileSync(join(ROOT, name), 'utf8') }])
  t.strictSame(problems, [])
  const example = modules.find(module => module.name === 'backend.ts')!

  const broker = await startMosquitto(t, { config: ['log_dest stderr', 'log_type all'] })
  const peer = await connectClient(t, broker.url)
  const done = await peer.messages('done/+', { qos: 1 })
  const port = await freePort()
  const { program, args } = PLAIN_NODE
  const primary = spawn(program, [...args, example.path], {
    env: { ...process.env, PORT: String(port), MQTT_URL: broker.url }, stdio: ['ignore', 'pipe', 'pipe']
  })
  t.after(() => { primary.kill('SIGKILL') })
  let output = ''
  for (const stream of [primary.stdout, primary.stderr]) stream.on('data', (text: Buffer) => { output += text.toString() })

  /** The processes that have come up so far, in that order. */
  const processes = (): Array<{ pid: number, clientId: string }> => output.split('\n')
    .filter(line => line.includes('MQTT connected'))
    .map(line => JSON.parse(line) as { pid: number, clientId: string })
  const up = async (count: number): Promise<void> => {
    await waitFor(() => processes().length >= count && count <= [...broker.log().matchAll(/Sending SUBACK to backend-/g)].length, `${count} processes`, PATIENCE)
      .catch((error: unknown) => { throw new Error(`${(error as Error).message}\n${output}`) })
  }
  /** Orders that are sent one after another, and who has handled each. */
  const order = async (first: number): Promise<string[]> => {
    for (let id = first; id < first + COUNT; id++) {
      const response = await fetch(`http://127.0.0.1:${port}/orders/${id}`, { method: 'POST', headers: { connection: 'close' } })
      t.strictSame(await response.json(), { reasonCode: 0 }, `order ${id}`)
    }
    const wanted = Array.from({ length: COUNT }, (_, i) => `done/${first + i}`)
    await waitFor(() => wanted.every(topic => done.all.some(message => message.topic === topic)), 'what became of the orders', PATIENCE)
    return done.all.filter(({ topic }) => wanted.includes(topic)).map(({ text }) => (JSON.parse(text) as { slot: string }).slot)
  }

  await up(SLOTS.length)
  t.strictSame(processes().map(({ clientId }) => clientId).sort(), SLOTS.map(slot => `backend-${slot}`))
  const handled = await order(1)
  t.equal(handled.length, COUNT, 'each order once')
  t.strictSame([...new Set(handled)].sort(), SLOTS, 'all take part')

  const [victim] = processes() as [{ pid: number, clientId: string }]
  process.kill(victim.pid, 'SIGKILL')
  await up(SLOTS.length + 1)
  t.equal(processes().at(-1)!.clientId, victim.clientId, 'started again with its number')
  t.strictSame([...new Set(await order(COUNT + 1))].sort(), SLOTS, 'and with its share')

  primary.kill('SIGTERM')
  await withinTime(once(primary, 'exit'), 'the end of the primary', PATIENCE)
  const pids = processes().map(({ pid }) => pid)
  t.strictSame(pids.filter(runs), [], 'no process is left')
  for (const { clientId, pid } of processes()) {
    if (pid !== victim.pid) await waitFor(() => broker.log().includes(`Client ${clientId} disconnected.`), `the goodbye of ${clientId}`)
  }
  t.notMatch(broker.log(), /already connected/, 'no take-over')
  t.comment(JSON.stringify({ processes: pids.length, orders: 2 * COUNT, handled: done.all.length }))
})
