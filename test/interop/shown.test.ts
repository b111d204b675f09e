import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import type { FastifyInstance } from 'fastify'
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
/** How mosquitto_sub ends when its `-W` is over. */
const TIMED_OUT = 27
const COLLECT = 'mosquitto_sub -V 5 -i undertaker -c -x 604800 -q 1 -t plant/dead/orders -E   # asks for the subscription, and ends'

t.setTimeout(60_000)

/** What makes a command of the documentation work, and what it is to print, or what is to be waited for when it has ended. */
const SHOWN: Record<string, (t: Test, broker: Mosquitto) => Promise<string | (() => Promise<void>)>> = {
  "mosquitto_rr -V 5 -t sum/2/3 -e my/answers -m ''": async (t, broker) => {
    const { app } = await buildApp(t, { url: broker.url })
    app.mqtt.topic('sum/<int:a>/<int:b>', message => ({ sum: message.params.a + message.params.b }))
    await connect(app)
    return '{"sum":5}\n'
  },
  [COLLECT]: async (t, broker) => {
    const { app } = await plant(t, broker)
    await connect(app)
    return async () => {
      // 0x10 would say that nobody has subscribed.
      t.strictSame(await app.mqtt.publish('dead/orders', 'late', { qos: 1 }), { reasonCode: 0 })
    }
  },
  "mosquitto_sub -V 5 -i undertaker -c -x 604800 -q 1 -t plant/dead/orders -W 2 -F '%P | %p'": async (t, broker) => {
    await runShown(t, broker, COLLECT)
    const { app } = await plant(t, broker)
    await connect(app)
    await app.mqtt.publish('order/7', '{"pieces":3}', { qos: 1 })
    await waitFor(() => app.mqtt.status().counters.published === 2, 'the dead letter')
    return 'error-code:E_STOCK error-message:out of stock route:order topic:plant/order/7 | {"pieces":3}\n'
  },
  "mosquitto_pub -V 5 -q 1 -t plant/order/7 -m '{\"pieces\":3}'": async (t, broker) => {
    const { app, orders } = await plant(t, broker)
    await connect(app)
    return async () => {
      await waitFor(() => orders.length > 0, 'the order')
      t.strictSame(orders, ['{"pieces":3}'])
    }
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
      const output = await runShown(t, broker, command)
      if (typeof expected === 'string') {
        t.equal(output, expected)
      } else {
        t.equal(output, '')
        await expected()
      }
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

/** As it is shown, but for the place of the broker; what stands behind a # is for the reader. */
async function runShown (t: Test, broker: Mosquitto, command: string): Promise<string> {
  const { code, output, errors } = await startProgram(t, 'bash', ['-c', `exec ${command.replace(/ +# .*/, '')} -h 127.0.0.1 -p ${broker.port}`]).end()
  t.equal(code, / -W /.test(command) ? TIMED_OUT : 0, errors)
  return output
}

/** The application that docs/errors-and-retries.md has in mind: no order is any good. */
async function plant (t: Test, broker: Mosquitto): Promise<{ app: FastifyInstance, orders: string[] }> {
  const { app } = await buildApp(t, { url: broker.url, prefix: 'plant', protocolVersion: 5 })
  const orders: string[] = []
  app.mqtt.topic('order/<int:id>', { name: 'order', qos: 1, deadLetter: 'dead/orders' }, message => {
    orders.push(message.text())
    throw Object.assign(new Error('out of stock'), { code: 'E_STOCK' })
  })
  return { app, orders }
}

function heard (program: Program, pattern: RegExp): boolean {
  return program.lines.some(line => pattern.test(line))
}

function documents (): string[] {
  return ['.', 'docs', 'examples']
    .flatMap(folder => readdirSync(join(ROOT, folder), { recursive: folder !== '.', encoding: 'utf8' }).map(name => join(folder, name)))
    .filter(name => name.endsWith('.md')).sort()
}
