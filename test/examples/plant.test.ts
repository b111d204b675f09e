import { spawn, type ChildProcess } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import type { FastifyInstance } from 'fastify'
import type { MqttClient } from 'mqtt'
import t, { type Test } from 'tap'
import { buildPlant, type PlantOptions } from '../../examples/plant/app.ts'
import { connectDevice, type DeviceOptions, type DeviceTopics } from '../../examples/plant/device.ts'
import { MemoryStore } from '../../examples/plant/store.ts'
import { live } from '../support/app.ts'
import { connectClient } from '../support/client.ts'
import { nextEvent, waitFor } from '../support/events.ts'
import { mosquittoMissing, startMosquitto } from '../support/mosquitto.ts'
import { freePort } from '../support/ports.ts'
import { PLAIN_NODE } from '../support/project.ts'

// The example's own tests, which need no broker.
import '../../examples/plant/test/devices.test.ts'
import '../../examples/plant/test/http.test.ts'

/* examples/plant on real brokers, with real devices. */

t.setTimeout(90_000)

const HEATER = { room: 1, device: 'heater' }
const HEATER_URL = '/rooms/1/devices/heater'

interface Answer {
  code: number
  body: any
}

type Call = (method: string, path: string, body?: object) => Promise<Answer>

function caller (origin: string): Call {
  return async (method, path, body) => {
    const response = await fetch(origin + path, {
      method, ...(body !== undefined && { headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) })
    })
    return { code: response.status, body: await response.json() }
  }
}

async function start (t: Test, options: PlantOptions): Promise<{ app: FastifyInstance, call: Call }> {
  const app = await buildPlant(options)
  t.after(() => app.close())
  const origin = await app.listen({ port: 0, host: '127.0.0.1' })
  await live(app)
  return { app, call: caller(origin) }
}

/** Registers the heater and connects it; it is seen to be there, and listens to commands, when this resolves. */
async function connectHeater (t: Test, call: Call, url: string, options: Partial<DeviceOptions> = {}): Promise<{ client: MqttClient, topics: DeviceTopics }> {
  const { topics } = (await call('PUT', HEATER_URL)).body as { topics: DeviceTopics }
  const client = connectDevice(url, topics, { protocolVersion: 5, obey: command => ({ on: true, target: 20, ...command }), ...options })
  t.after(() => { client.end(true) })
  await waitFor(async () => (await call('GET', HEATER_URL)).body.online === true, 'the device to be shown as online')
  return { client, topics }
}

t.test('a device on the embedded broker, from its registration to its sudden end', async t => {
  const { app, call } = await start(t, { mqtt: { embedded: { port: 0 } } })
  t.match(await call('GET', '/health'), { code: 200, body: { healthy: true } })
  const { host, port } = app.mqtt.embedded!.address()!
  const { client, topics } = await connectHeater(t, call, `mqtt://${host}:${port}`, { protocolVersion: 4 })

  await client.publishAsync(topics.telemetry, '{"celsius":21.5,"humidity":40}', { qos: 1 })
  const samples = Float32Array.from({ length: 500 }, (_, i) => Math.sin(2 * Math.PI * 120 * i / 1000))
  await client.publishAsync(topics.waveform, Buffer.from(samples.buffer), { qos: 1 })
  await waitFor(async () => (await call('GET', HEATER_URL)).body.vibration !== undefined, 'the result of the pool')
  t.match((await call('GET', HEATER_URL)).body, { online: true, firmware: '2.0.1', reading: { celsius: 21.5, humidity: 40 }, vibration: { hertz: 120 } })
  await client.publishAsync('v1/1/heater/celsius', '22.5')
  await waitFor(async () => (await call('GET', HEATER_URL)).body.reading.celsius === 22.5, 'the reading of the first firmware')
  t.match(await call('POST', `${HEATER_URL}/commands`, { on: true }), { code: 501, body: { code: 'FST_MQTT_NEEDS_V5' } })

  client.options.reconnectPeriod = 0
  client.stream.destroy()
  await waitFor(async () => (await call('GET', HEATER_URL)).body.online === false, 'the will of the device')
  const { counters } = app.mqtt.status()
  t.match(counters, { failed: 0, unmatched: 0 })
  t.comment(`${counters.handled} messages handled, ${counters.failed} failed`)
})

t.test('mosquitto: what becomes of commands', { skip: mosquittoMissing() }, async t => {
  const broker = await startMosquitto(t)
  const { app, call } = await start(t, { mqtt: { url: broker.url, reconnect: { min: 10, max: 100 } }, commandTimeout: 2_000 })
  const send = async (target: number): Promise<Answer> => call('POST', `${HEATER_URL}/commands`, { target })
  const { client, topics } = await connectHeater(t, call, broker.url, {
    obey ({ target = 20 }) {
      if (target === 30) throw new Error('the fuse has blown')
      return { on: target === 31 ? 'perhaps' as never : true, target }
    }
  })

  t.match(await send(21), { code: 200, body: { on: true, target: 21 } })
  t.match(await send(30), { code: 502, body: { code: 'FST_MQTT_REPLY_ERROR', message: /DEVICE_FAILED: the fuse has blown/ } }, 'the device says that it failed')
  t.match(await send(31), { code: 502, body: { code: 'FST_MQTT_INVALID_BODY' } }, 'what it says makes no sense')
  const answers = await Promise.all([21, 22, 23, 24].map(send))
  t.strictSame(answers.map(({ body }) => body.target), [21, 22, 23, 24])

  // It takes the whole commandTimeout: that nobody answers shows in no other way.
  await client.unsubscribeAsync(topics.command)
  t.match(await send(21), { code: 504, body: { code: 'FST_MQTT_TIMEOUT' } }, 'nobody listens')

  await broker.stop()
  await waitFor(() => !app.mqtt.connected, 'the application to notice')
  t.match(await send(21), { code: 503, body: { code: 'BROKER_DOWN' } })
  t.match(await call('GET', '/health'), { code: 503, body: { healthy: false } })
  await broker.start()
  await live(app)
  t.match(await call('GET', '/health'), { code: 200, body: { healthy: true } })
})

t.test('mosquitto: dead letters, a prefix, and what a new process is told', { skip: mosquittoMissing() }, async t => {
  const broker = await startMosquitto(t)
  const mqtt = { url: `${broker.url}/site` }
  const { call } = await start(t, { mqtt })
  const { messages } = await connectClient(t, broker.url, { protocolVersion: 5 })
  const failures = await messages('site/failed/telemetry', { qos: 1 })
  const { client, topics } = await connectHeater(t, call, broker.url)
  t.equal(topics.telemetry, 'site/rooms/1/devices/heater/telemetry')
  await client.publishAsync(topics.telemetry, '{"celsius":"warm"}', { qos: 1 })
  const [letter] = await failures.first(1)
  t.match(letter, { text: '{"celsius":"warm"}', packet: { properties: { userProperties: { 'error-code': 'FST_MQTT_INVALID_BODY', route: 'telemetry', topic: topics.telemetry } } } })

  const store = new MemoryStore()
  await store.add(HEATER)
  await start(t, { mqtt, store })
  await waitFor(async () => (await store.get(HEATER)).online, 'the new process to hear of the device')
})

t.test('mosquitto: a waveform that is being analysed when the application closes', { skip: mosquittoMissing() }, async t => {
  const broker = await startMosquitto(t)
  const { app, call } = await start(t, { mqtt: { url: broker.url } })
  const { client, topics } = await connectHeater(t, call, broker.url)
  const { messages } = await connectClient(t, broker.url)
  const results = await messages('rooms/1/devices/heater/vibration', { qos: 1 })
  await client.publishAsync(topics.waveform, Buffer.from(new Float32Array(4096).fill(1).buffer), { qos: 1 })
  await waitFor(() => app.mqtt.status().inbox.running === 1, 'the task to run')
  await app.close()
  t.match(await results.first(1), [{ text: /"rms":1,/ }])
})

t.test('the programs run as the README says, and end by themselves when they are told to', async t => {
  const brokerPort = String(await freePort())
  const server = program(t, 'server', { PORT: '0', BROKER_PORT: brokerPort })
  const listening = /Server listening at (http:[^"]+)"/
  await waitFor(() => listening.test(server.output()), 'the server to listen')
  const PLANT = listening.exec(server.output())![1]!
  const call = caller(PLANT)
  await waitFor(async () => (await call('GET', '/health')).code === 200, 'the server to be well')

  const heater = program(t, 'simulate', { PLANT, MQTT_URL: `mqtt://127.0.0.1:${brokerPort}` })
  const shown = async (): Promise<Answer['body']> => (await call('GET', '/rooms/1/devices')).body[0]
  await waitFor(async () => (await shown())?.reading !== undefined, 'a reading')
  t.match(await shown(), { device: 'heater', online: true, reading: { celsius: Number } })

  t.strictSame(await heater.end('SIGINT'), [0, null], heater.output().slice(-1_000))
  await waitFor(async () => !(await shown()).online, 'the heater to have said goodbye')
  t.strictSame(await server.end('SIGTERM'), [0, null], server.output().slice(-1_000))
})

/** Runs a compiled program of the example. */
function program (t: Test, name: string, env: Record<string, string>): { output: () => string, end: (signal: NodeJS.Signals) => Promise<unknown[]> } {
  const file = fileURLToPath(new URL(`../../examples/plant/${name}.js`, import.meta.url))
  const child: ChildProcess = spawn(PLAIN_NODE.program, [...PLAIN_NODE.args, file], {
    env: { PATH: process.env.PATH, ...env }, stdio: ['ignore', 'pipe', 'pipe']
  })
  t.after(() => { child.kill('SIGKILL') })
  let output = ''
  for (const stream of [child.stdout!, child.stderr!]) stream.on('data', (text: Buffer) => { output += text.toString() })
  return {
    output: () => output,
    async end (signal) {
      const exited = nextEvent(child, 'exit')
      child.kill(signal)
      return exited
    }
  }
}
