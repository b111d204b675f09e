import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { buildApp, connect } from '../support/app.ts'
import { waitFor } from '../support/events.ts'
import { startMosquitto, type Mosquitto } from '../support/mosquitto.ts'
import { PLAIN_NODE, ROOT } from '../support/project.ts'
import { clientsMissing, runClient } from './mosquitto-clients.ts'
import { startProgram, type Program } from './program.ts'

/* What README, docs and the demo show to be typed into a shell works as it is shown. */

const skip = clientsMissing()
const COMMAND = /\bmosquitto_(?:pub|sub|rr) [^`\n]*/g

t.setTimeout(60_000)

/** What makes a command of the documentation work, and what it is to print. The broker stands behind the arguments as shown. */
const SHOWN: Record<string, (t: Test, broker: Mosquitto) => Promise<string>> = {
  "mosquitto_rr -V 5 -t sum/2/3 -e my/answers -m ''": async (t, broker) => {
    const { app } = await buildApp(t, { url: broker.url })
    app.mqtt.topic('sum/<int:a>/<int:b>', message => ({ sum: message.params.a + message.params.b }))
    await connect(app)
    return '{"sum":5}\n'
  }
}

t.test('commands of the documentation', { skip }, async t => {
  const found = documents().flatMap(name => [...readFileSync(join(ROOT, name), 'utf8').matchAll(COMMAND)].map(([command]) => ({ name, command })))
  t.ok(found.length > 0, 'there are some')
  for (const { name, command } of found) {
    await t.test(`${name}: ${command}`, async t => {
      const prepare = SHOWN[command]
      if (prepare === undefined) {
        t.fail('nobody tries it: give it a place in this test')
        return
      }
      const broker = await startMosquitto(t)
      const expected = await prepare(t, broker)
      const { output } = await runClient(t, 'bash', ['-c', `${command} -h 127.0.0.1 -p ${broker.port}`])
      t.equal(output, expected)
    })
  }
})

for (const where of ['the embedded broker', 'mosquitto, under a prefix'] as const) {
  t.test(`commands that the demo prints, on ${where}`, { skip }, async t => {
    const MQTT_URL = where === 'the embedded broker' ? '' : `mqtt://127.0.0.1:${(await startMosquitto(t)).port}/lab`
    const prefix = MQTT_URL === '' ? '' : 'lab/'
    const demo = startProgram(t, 'env', [
      `MQTT_URL=${MQTT_URL}`, 'PORT=0', 'DEVICES=1', PLAIN_NODE.program, ...PLAIN_NODE.args, join(import.meta.dirname, '../../examples/demo/main.js')
    ])
    await demo.line(/mosquitto_sub/)
    const commands = demo.lines.flatMap(line => line.match(COMMAND) ?? [])
    const [listener, ...others] = commands.filter(command => command.startsWith('mosquitto_sub'))
    t.strictSame(others, [])
    const listening = startProgram(t, 'bash', ['-c', `exec ${listener}`])
    await waitFor(() => heard(listening, /telemetry/), 'a message of a device')
    const publishers = commands.filter(command => command.startsWith('mosquitto_pub'))
    t.equal(publishers.length, 2)
    for (const command of publishers) await runClient(t, 'bash', ['-c', command])
    await waitFor(() => heard(listening, new RegExp(`^${prefix}devices/1/command 30$`)) && heard(listening, new RegExp(`^${prefix}devices/9/\\S* 16\\.5$`)), 'what was published')
    t.ok(listening.lines.every(line => line.startsWith(`${prefix}devices/`)))
    demo.child.kill('SIGTERM')
    t.match(await demo.end(), { code: 0 })
  })
}

function heard (program: Program, pattern: RegExp): boolean {
  return program.lines.some(line => pattern.test(line))
}

function documents (): string[] {
  return ['.', 'docs', 'examples']
    .flatMap(folder => readdirSync(join(ROOT, folder), { recursive: folder !== '.', encoding: 'utf8' }).map(name => join(folder, name)))
    .filter(name => name.endsWith('.md')).sort()
}
