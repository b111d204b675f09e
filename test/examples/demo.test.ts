import t, { type Test } from 'tap'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import type { ServerResponse } from 'node:http'
import { fileURLToPath } from 'node:url'
import { buildDemo, type DemoOptions } from '../../examples/demo/app.ts'
import { Board } from '../../examples/demo/board.ts'
import { createDevice, parseCommand } from '../../examples/demo/device.ts'
import type { MessageEntry, ValueEntry } from '../../examples/demo/feed.ts'
import { EventStream } from '../../examples/demo/stream.ts'

t.setTimeout(120_000)

type Entry = ValueEntry | MessageEntry

interface Snapshot {
  mqtt: { state: string, counters: { published: number } }
  devices: Array<{ id: number, reported: { on: boolean, target: number } | null }>
  filters: string[]
}

/** The page's view of the demo: its server-sent events. */
async function watch (t: Test, origin: string) {
  const abort = new AbortController()
  t.teardown(() => { abort.abort() })
  const response = await fetch(`${origin}/events`, { signal: abort.signal })
  const reader = response.body!.pipeThrough(new TextDecoderStream()).getReader()
  const seen: { hello?: any, status?: Snapshot, entries: Entry[], ended: boolean } = { entries: [], ended: false }
  let buffered = ''

  async function readOn (): Promise<void> {
    const { done, value } = await reader.read()
    if (done) {
      seen.ended = true
      return
    }
    const events = (buffered + value).split('\n\n')
    buffered = events.pop()!
    for (const text of events) {
      const [, event, data] = /^event: (\w+)\ndata: (.*)$/.exec(text) ?? []
      if (event === undefined) continue
      const parsed = JSON.parse(data!)
      if (event === 'feed') seen.entries.push(...parsed.entries)
      else if (event === 'status') seen.status = parsed
      else seen.hello = parsed
    }
  }

  return {
    seen,
    /** Reads until something is there. What ends a hopeless wait is tap's timeout. */
    async until<T> (look: (state: typeof seen) => T | undefined | false): Promise<T> {
      for (;;) {
        const found = look(seen)
        if (found !== undefined && found !== false) return found
        if (seen.ended) throw new Error('the feed ended')
        await readOn()
      }
    },
    async end (): Promise<void> {
      while (!seen.ended) await readOn()
    }
  }
}

async function start (t: Test, options: DemoOptions = {}) {
  const app = await buildDemo({ brokerPort: 0, devices: 2, logLevel: 'silent', ...options })
  t.teardown(async () => { await app.close() })
  const origin = await app.listen({ port: 0, host: '127.0.0.1' })
  async function call (method: string, path: string, body?: object) {
    const response = await fetch(origin + path, {
      method,
      ...(body === undefined ? {} : { headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) })
    })
    return { status: response.status, body: await response.json() as any }
  }
  return { app, origin, call }
}

const isMessage = (topic: string) => (entry: Entry): entry is MessageEntry => entry.type === 'message' && entry.topic === topic
const isValue = (id: number, metric: string) => (entry: Entry): entry is ValueEntry => entry.type === 'value' && entry.id === id && entry.metric === metric

t.test('devices publish from worker threads, and a command over HTTP changes one', async t => {
  const { origin, call } = await start(t)
  const feed = await watch(t, origin)

  const before = await feed.until(({ entries }) => entries.find(isValue(1, 'temperature')))
  await feed.until(({ entries }) => entries.find(isValue(2, 'power')))
  await feed.until(({ status }) => status?.devices.find(({ id, reported }) => id === 1 && reported?.target === 22))

  const answer = await call('POST', '/devices/1/command', { target: 34 })
  t.match(answer, { status: 200, body: { topic: 'devices/1/command', qos: 1, reasonCode: 0, ms: Number } })

  const command = await feed.until(({ entries }) => entries.find(isMessage('devices/1/command')))
  t.match(command, { kind: 'command', payload: '{"target":34}' })
  await feed.until(({ status }) => status?.devices.find(({ id, reported }) => id === 1 && reported?.target === 34))
  const after = await feed.until(({ entries }) => entries.find(entry => isValue(1, 'temperature')(entry) && entry.value > before.value + 3))
  t.ok(after, 'the bay warms up')

  await call('POST', '/devices/1/command', { on: false })
  await feed.until(({ entries }) => entries.find(entry => isValue(1, 'power')(entry) && entry.at > (after as ValueEntry).at && entry.value < 10))

  t.match(await call('POST', '/devices/1/command', { target: 99 }), { status: 400 })
  t.match(await call('POST', '/devices/1/command', { unknown: 1 }), { status: 400 })
  t.match(await call('POST', '/devices/none/command', { on: true }), { status: 400 })
})

t.test('what the boxes of the page do: subscribe, publish, unsubscribe', async t => {
  const { app, origin, call } = await start(t, { devices: 1 })
  const feed = await watch(t, origin)

  t.match(await call('POST', '/subscribe', { filter: 'hello/#' }), { status: 200, body: { filters: ['hello/#'], granted: [{ filter: 'hello/#' }] } })
  const retained = { topic: 'hello/world', payload: 'Hello <b>there</b>', qos: 1, retain: true }
  t.match(await call('POST', '/publish', retained), { status: 200, body: { reasonCode: 0 } })
  t.match(await feed.until(({ entries }) => entries.find(isMessage('hello/world'))),
    { kind: 'other', payload: 'Hello <b>there</b>', size: 18, cut: false, subscribed: true })

  await call('POST', '/publish', { topic: 'hello/object', payload: { a: 1 }, qos: 2 })
  t.match(await feed.until(({ entries }) => entries.find(isMessage('hello/object'))), { payload: '{"a":1}' })

  await app.mqtt.publish('hello/bytes', Buffer.from([0xff, 0x00, 0x41]))
  t.match(await feed.until(({ entries }) => entries.find(isMessage('hello/bytes'))), { payload: 'ff0041', size: 3 })
  await app.mqtt.publish('hello/long', 'x'.repeat(5_000))
  t.match(await feed.until(({ entries }) => entries.find(isMessage('hello/long'))), { payload: 'x'.repeat(600), size: 5_000, cut: true })

  await call('POST', '/subscribe', { filter: 'devices/1/telemetry/+' })
  await feed.until(({ entries }) => entries.find(entry => isMessage('devices/1/telemetry/humidity')(entry) && entry.subscribed))

  t.match(await call('POST', '/publish', { topic: 'hello/+' }), { status: 400, body: { code: 'FST_MQTT_TOPIC', message: String } })
  t.match(await call('POST', '/subscribe', { filter: 'hello/#/x' }), { status: 400, body: { code: 'FST_MQTT_PATTERN', message: String } })

  t.strictSame((await call('DELETE', `/subscribe?filter=${encodeURIComponent('hello/#')}`)).body, { filters: ['devices/1/telemetry/+'] })
  t.strictSame((await call('DELETE', '/subscribe')).body, { filters: [] })
  await feed.until(({ status }) => status?.filters.length === 0)
  t.notOk(app.mqtt.status().subscriptions.some(({ filter }) => filter.startsWith('hello')))
  await call('POST', '/publish', { topic: 'hello/world', payload: '', qos: 1, retain: true })
})

t.test('a handler that cannot make sense of a message says so in the feed', async t => {
  const { origin, call } = await start(t, { devices: 1 })
  const feed = await watch(t, origin)
  await call('POST', '/publish', { topic: 'devices/1/command', payload: 'explode', qos: 1 })
  t.match(await feed.until(({ entries }) => entries.find(isMessage('devices/1/command'))), { error: /a command is/ })
  await call('POST', '/publish', { topic: 'devices/7/telemetry/power', payload: 'much', qos: 1 })
  t.match(await feed.until(({ entries }) => entries.find(isMessage('devices/7/telemetry/power'))), { error: /is a number/ })
})

t.test('the page, the status and the lines to try', async t => {
  const { app, origin, call } = await start(t, { devices: 1 })
  const page = await fetch(origin)
  t.equal(page.status, 200)
  t.match(page.headers.get('content-security-policy'), "default-src 'self'")
  const html = await page.text()
  for (const match of html.matchAll(/(?:src|href)="(\/[^"]+)"/g)) {
    t.equal((await fetch(origin + match[1])).status, 200, match[0])
  }
  t.equal((await fetch(`${origin}/..%2fpackage.json`)).status, 404)

  t.match(await call('GET', '/status'), { status: 200, body: { state: String, counters: {} } })
  t.match(await (await fetch(`${origin}/topics`)).text(), /telemetry/)

  const { port } = app.mqtt.embedded!.address()!
  const feed = await watch(t, origin)
  const { tips, broker } = await feed.until(({ hello }) => hello)
  t.match(broker, { label: `mqtt://127.0.0.1:${port}`, embedded: true })
  t.match(tips[0].line, `mosquitto_pub -h 127.0.0.1 -p ${port} -q 1 -t devices/1/command -m 30`)

  await app.close()
  await feed.end()
  t.pass('an open page does not keep the application from closing')
})

t.test('MQTT_URL: the same on another broker, under its prefix', async t => {
  const other = await start(t, { devices: 1 })
  const { port } = other.app.mqtt.embedded!.address()!
  const { app, origin, call } = await start(t, { url: `mqtt://me:secret@127.0.0.1:${port}/lab`, devices: 1 })
  t.equal(app.mqtt.embedded, undefined)

  const feed = await watch(t, origin)
  const { broker, tips } = await feed.until(({ hello }) => hello)
  t.match(broker, { label: `mqtt://127.0.0.1:${port}`, embedded: false })
  t.match(tips[0].line, '-t lab/devices/1/command')
  t.notMatch(JSON.stringify({ broker, tips }), /secret/)

  await feed.until(({ entries }) => entries.find(isValue(1, 'temperature')))
  t.match(await call('POST', '/devices/1/command', { target: 30 }), { status: 200 })
  await feed.until(({ status }) => status?.devices.find(({ id, reported }) => id === 1 && reported?.target === 30))
})

t.test('npm start prints what to open and ends on a signal', async t => {
  const child = spawn(process.execPath, [fileURLToPath(new URL('../../examples/demo/main.js', import.meta.url))], {
    env: { ...process.env, PORT: '0', MQTT_URL: '', DEVICES: '1' },
    stdio: ['ignore', 'pipe', 'inherit']
  })
  t.teardown(() => { child.kill('SIGKILL') })
  let printed = ''
  child.stdout.on('data', chunk => { printed += chunk })
  while (!printed.includes('npm start')) await once(child.stdout, 'data')
  const [, origin] = /Open +(http:\S+)/.exec(printed) ?? []
  t.match(printed, /mosquitto_pub -h 127\.0\.0\.1 -p \d+ -q 1 -t devices\/1\/command -m 30/)
  t.equal((await fetch(origin!)).status, 200)
  const exit = once(child, 'exit')
  child.kill('SIGTERM')
  t.strictSame(await exit, [0, null])
})

t.test('a browser that does not read costs no memory', async t => {
  const written: string[] = []
  const response = { writableLength: 1e9, writeHead () {}, write (text: string) { written.push(text) }, end () {} }
  const stream = new EventStream(response as unknown as ServerResponse)
  written.length = 0
  for (let i = 0; i < 10_000; i++) {
    stream.push(i)
    stream.pushValue('temperature', -i)
    stream.replace('status', i)
    stream.flush()
  }
  t.equal(written.length, 0)
  response.writableLength = 0
  stream.flush()
  t.equal(written.length, 2)
  t.match(written[0], 'data: 9999')
  const { entries, skipped } = JSON.parse(/data: (.*)/.exec(written[1]!)![1]!)
  t.equal(entries.shift(), -9_999, 'values come first, the newest of each')
  t.equal(entries.length + skipped, 10_000)
  t.equal(entries.length, 500)
  t.equal(entries.at(-1), 9_999)
})

t.test('strangers get a line in the charts as long as there is room', async t => {
  const board = new Board([createDevice(1), createDevice(2)])
  const now = Date.now()
  for (let id = 100; id < 200; id++) board.value(id, 'power', 1, now)
  t.strictSame(board.devices().map(({ id, slot }) => [id, slot]), [[1, 0], [2, 1], [100, 2], [101, 3], [102, 4], [103, 5]])
  for (let i = 0; i < 100_000; i++) board.value(1, 'power', i, now + i)
  t.ok(board.history()[0]!.series.power.length <= 601)
  t.equal(board.history()[0]!.series.power.at(-1)![1], 99_999)
})

t.test('commands as devices take them', async t => {
  t.strictSame(parseCommand(30), { target: 30 })
  t.strictSame(parseCommand('off'), { on: false })
  t.strictSame(parseCommand({ on: true, target: 5 }), { on: true, target: 5 })
  for (const bad of [undefined, null, 'up', 99, NaN, { on: 'yes' }, { target: '5' }, { target: 4 }]) t.throws(() => parseCommand(bad))
})
