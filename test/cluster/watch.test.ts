import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { appendFileSync } from 'node:fs'
import t, { type Test } from 'tap'
import { connectClient, type Inbox } from '../support/client.ts'
import { waitFor, withinTime } from '../support/events.ts'
import { startMosquitto } from '../support/mosquitto.ts'
import { freePort } from '../support/ports.ts'
import { PLAIN_NODE, projectWithPackage, writeInto } from '../support/project.ts'
import { keptSession, nameOf, skip, type Version } from '../faults/fixtures/storms.ts'
import { runs } from './fixtures/runs.ts'

/* An application under `node --watch`: at each change the process ends, and another takes its place, port and session. */

t.setTimeout(240_000)

const TOUCHES = 3
const PATIENCE = { within: 30_000 }

const APPLICATION = `
import Fastify from 'fastify'
import multimqtt from 'fastify-multimqtt'

const { port, closes, ...options } = JSON.parse(process.env.SETTING)
const { pid } = process

const app = Fastify()
await app.register(multimqtt, { ...options, will: { topic: 'vanished', payload: String(pid), qos: 1 } })
app.mqtt.topic('number/<int:n>', { qos: 1 }, ({ params }) => app.mqtt.publish('handled', { n: params.n, pid }, { qos: 1 }))
if (closes) process.once('SIGTERM', () => { app.close().then(() => process.exit()) })
await app.listen({ port, host: '127.0.0.1' })
while (app.mqtt.subscriptions.some(({ status }) => status !== 'active')) await new Promise(resolve => setTimeout(resolve, 2))
await app.mqtt.publish('live', { pid, clientId: app.mqtt.client.options.clientId, ...app.mqtt.status().counters }, { qos: 1 })
`

interface Live { pid: number, clientId: string, reconnects: number }

interface Setting {
  version: Version
  /** A fixed client id with a kept session. */
  kept: boolean
  /** It closes on SIGTERM; else that just ends it. */
  closes: boolean
}

t.test('node --watch', { skip }, async t => {
  // A copy of the package: what else is compiled meanwhile must not look like a change.
  const project = projectWithPackage(t)
  for (const setting of [
    { version: 5, kept: false, closes: true },
    { version: 4, kept: true, closes: true },
    { version: 5, kept: true, closes: false },
    { version: 4, kept: false, closes: false }
  ] satisfies Setting[]) {
    const name = `${nameOf(setting.version)}, ${setting.kept ? 'a kept session' : 'ids of their own'}, ${setting.closes ? 'closed' : 'not closed'} on SIGTERM`
    await t.test(name, t => touch(t, project, name, setting))
  }
})

async function touch (t: Test, project: string, name: string, { version, kept, closes }: Setting): Promise<void> {
  const broker = await startMosquitto(t, { config: ['log_dest stderr'] })
  const peer = await connectClient(t, broker.url)
  const [live, handled, vanished] = await Promise.all(['live', 'handled', 'vanished'].map(async topic => peer.messages(topic, { qos: 1 }))) as [Inbox, Inbox, Inbox]
  const file = writeInto(project, 'app.js', APPLICATION)
  const setting = JSON.stringify({
    port: await freePort(), closes, url: broker.url, protocolVersion: version, ...(kept ? keptSession() : {})
  })
  const { program, args } = PLAIN_NODE
  const watcher = spawn(program, [...args, '--watch', file], { env: { ...process.env, SETTING: setting }, stdio: ['ignore', 'pipe', 'pipe'] })
  let output = ''
  for (const stream of [watcher.stdout, watcher.stderr]) stream.on('data', (text: Buffer) => { output += text.toString() })
  const pids: number[] = []
  t.after(() => {
    watcher.kill('SIGKILL')
    for (const pid of pids) if (runs(pid)) process.kill(pid, 'SIGKILL')
  })

  const come = async (): Promise<Live> => {
    const messages = await live.first(pids.length + 1, PATIENCE).catch((error: unknown) => { throw new Error(`${(error as Error).message}\n${output}`) })
    const told = JSON.parse(messages.at(-1)!.text) as Live
    pids.push(told.pid)
    return told
  }
  const lives = [await come()]
  let n = 0
  for (let i = 0; i < TOUCHES; i++) {
    const [old] = pids.slice(-1) as [number]
    appendFileSync(file, '// touched\n')
    // With a kept session nothing is lost between the two.
    if (kept) await peer.client.publishAsync(`number/${++n}`, '', { qos: 1 })
    lives.push(await come())
    t.notOk(runs(old), 'the old one has ended')
    await peer.client.publishAsync(`number/${++n}`, '', { qos: 1 })
    const wanted = JSON.stringify({ n, pid: pids.at(-1) })
    await waitFor(() => handled.all.some(({ text }) => text === wanted), `message ${n} in the new process`, PATIENCE)
    if (!closes) await vanished.first(i + 1)
  }

  watcher.kill('SIGTERM')
  await withinTime(once(watcher, 'exit'), 'the end of node --watch', PATIENCE)
  t.strictSame(pids.filter(runs), [], 'no process is left')
  t.equal(new Set(pids).size, TOUCHES + 1, 'each touch brought one process')
  t.equal(live.all.length, TOUCHES + 1, 'and only one')
  t.equal(new Set(lives.map(({ clientId }) => clientId)).size, kept ? 1 : TOUCHES + 1)
  t.strictSame(lives.map(({ reconnects }) => reconnects), lives.map(() => 0), 'none was thrown out')
  t.strictSame([...new Set(handled.all.map(({ text }) => (JSON.parse(text) as { n: number }).n))].sort((a, b) => a - b), Array.from({ length: n }, (_, i) => i + 1), 'every message was handled')
  for (const { clientId } of lives) await waitFor(() => broker.log().includes(`${clientId} ${closes ? 'disconnected' : 'closed its connection'}`), `the broker's note of ${clientId}`)
  t.equal(vanished.all.length, closes ? 0 : TOUCHES + 1, 'a will for each that did not say goodbye')
  t.notMatch(broker.log(), /already connected/, 'no take-over')
  t.notMatch(output, /EADDRINUSE|Failed running/)
  t.comment(`${name}: ${JSON.stringify({ processes: pids.length, published: n, handled: handled.all.length, wills: vanished.all.length })}`)
}
