import { Piscina } from 'piscina'
import t, { type Test } from 'tap'
import type { MqttPluginOptions } from '../../lib/index.ts'
import { Gates } from '../faults/gates.ts'
import { buildApp, connect } from '../support/app.ts'
import { waitFor } from '../support/events.ts'
import { mosquittoMissing, startMosquitto } from '../support/mosquitto.ts'
import type { Told } from './fixtures/request-task.ts'

async function stage (t: Test, options: MqttPluginOptions = {}, threads = 1) {
  const broker = await startMosquitto(t)
  const { app } = await buildApp(t, { url: broker.url, prefix: 'p', ...options })
  const pool = new Piscina({ filename: new URL('./fixtures/request-task.js', import.meta.url).href, minThreads: threads, maxThreads: threads })
  t.after(() => pool.destroy())
  const run = (name: string, task: unknown): Promise<never> => pool.run(task, { name }) as Promise<never>
  return { app, broker, pool, run }
}

t.test('requests from workers', { skip: mosquittoMissing() }, t => {
  t.test('the answer is a message, and exactly its bytes', async t => {
    const { app, run } = await stage(t)
    app.mqtt.topic('double/<int:n>', ({ params }) => ({ twice: params.n * 2 }))
    app.mqtt.topic('echo', message => message.payload)
    app.mqtt.topic('poison', () => '{"__proto__":{"admin":true}}')
    await connect(app)
    const answer: Told = await run('ask', { topic: 'double/21' })
    t.match(answer, { topic: /^reply\//, absoluteTopic: /^p\/reply\//, body: { twice: 42 } })
    const echoed: Told = await run('ask', { topic: 'echo', payload: Buffer.from('tiny') })
    t.match(echoed, { text: 'tiny', bytes: 4, backing: 4 })
    t.equal((await run('ask', { topic: 'poison' }) as Told).body, '{"__proto__":{"admin":true}}', 'what would poison a prototype stays text')
    t.equal((await run('ask', { topic: 'p/echo', payload: 'x', options: { absolute: true } }) as Told).text, 'x')
  })

  t.test('many at once from four threads', async t => {
    const { app, pool, run } = await stage(t, {}, 4)
    app.mqtt.topic('double/<int:n>', { qos: 1, order: 'none' }, ({ params }) => params.n * 2)
    await connect(app)
    const all = await Promise.all(Array.from({ length: 8 }, () => run('askMany', 100)))
    for (const answers of all) t.strictSame(answers, Array.from({ length: 100 }, (_, n) => n * 2))
    t.equal(pool.threads.length, 4)
  })

  t.test('a request takes no more memory than it needs', async t => {
    const { app, run } = await stage(t)
    app.mqtt.topic('double/<int:n>', { qos: 1, order: 'none' }, ({ params }) => params.n * 2)
    await connect(app)
    await run('askMany', 1)
    const { allocUnsafeSlow } = Buffer
    let chunks = 0
    t.teardown(() => { Buffer.allocUnsafeSlow = allocUnsafeSlow })
    Buffer.allocUnsafeSlow = size => {
      if (size === 65_536) chunks++
      return allocUnsafeSlow(size)
    }
    await run('askMany', 100)
    t.ok(chunks < 10, `${chunks} chunks for frames`)
  })

  t.test('order is kept between publishes and requests', async t => {
    const { app, run } = await stage(t)
    const seen: number[] = []
    app.mqtt.topic('log', { qos: 1 }, message => { seen.push(Number(message.text())); return 'noted' })
    await connect(app)
    await run('inOrder', 500)
    t.strictSame(seen, Array.from({ length: 500 }, (_, n) => n))
  })

  t.test('every way to fail', async t => {
    const { app, run } = await stage(t, { workers: { topics: ['p/+/#', 'p/silent'] } })
    app.mqtt.setErrorHandler(() => {})
    app.mqtt.topic('fails/now', () => { throw Object.assign(new Error('no'), { code: 'E_NO' }) })
    await connect(app)
    t.match(await run('ask', { topic: 'fails/now' }), { error: { code: 'FST_MQTT_REPLY_ERROR', remote: { code: 'E_NO', message: 'no' } } })
    t.match(await run('ask', { topic: 'p/silent', options: { timeout: 50, absolute: true } }), { error: { code: 'FST_MQTT_TIMEOUT' } })
    t.match(await run('ask', { topic: 'elsewhere/x', options: { absolute: true } }), { error: { code: 'FST_MQTT_WORKER_TOPIC' } })
    t.match(await run('askAndAbort', 'silent'), { error: { code: 'FST_MQTT_ABORTED' } })
    t.match(await run('hostile', undefined), [
      { error: { code: 'FST_MQTT_TOPIC' } },
      { error: { code: 'FST_MQTT_PROPERTY' } },
      { error: { code: 'FST_MQTT_PROPERTY' } },
      { error: { code: 'FST_MQTT_PROPERTY' } },
      { error: { code: 'FST_MQTT_PAYLOAD' } },
      { error: { code: 'FST_MQTT_PARAM' } },
      { error: { code: /FST_MQTT_(PROPERTY|TIMEOUT)/ } },
      { error: { code: 'FST_MQTT_TOPIC' } }
    ])
    const left = run('ask', { topic: 'silent', options: { timeout: 0 } })
    await waitFor(() => app.mqtt.status().counters.published >= 4, 'the request')
    await app.close()
    t.match(await left, { error: { code: 'FST_MQTT_CLOSED' } })
  })

  t.test('a worker that is gone before its answer leaves nothing behind', async t => {
    const { app, pool } = await stage(t)
    let answered = 0
    const gates = new Gates()
    app.mqtt.topic('slow', async () => { await gates.wait('slow'); answered++ })
    await connect(app)
    const ending = new AbortController()
    const gone = t.rejects(pool.run({ topic: 'slow' }, { name: 'ask', signal: ending.signal }))
    await gates.entered('slow')
    ending.abort()
    await gone
    gates.open('slow')
    await waitFor(() => answered === 1 && app.mqtt.status().outbox.messages === 0, 'the answer')
    await waitFor(() => app.mqtt.status().workers <= 1, 'the end of the port')
  })

  t.test('at 3.1.1', async t => {
    const { app, run } = await stage(t, { protocolVersion: 4 })
    await connect(app)
    t.match(await run('ask', { topic: 'a' }), { error: { code: 'FST_MQTT_NEEDS_V5' } })
  })

  t.test('topicFor by the names of routes, as they come and go', async t => {
    const { app, run } = await stage(t, { converters: { hex: { pattern: /^[0-9a-f]+$/, parse: (text: string) => parseInt(text, 16), format: (value: number) => value.toString(16) } } })
    const route = app.mqtt.topic('number/<int:n>', { name: 'number' }, () => {})
    app.mqtt.topic('color/<hex:c>', { name: 'color' }, () => {})
    app.mqtt.topic('$SYS/<path:rest>', { name: 'sys', absolute: true }, () => {})
    app.mqtt.topic('by/<name>', function byHandler () {})
    await connect(app)
    t.equal(await run('topicFor', { name: 'number', params: { n: 42 } }), 'number/42')
    t.equal(await run('topicFor', { name: 'number', params: { n: 42 }, absolute: true }), 'p/number/42')
    t.equal(await run('topicFor', { name: 'byHandler', params: { name: 'x' } }), 'by/x')
    t.equal(await run('topicFor', { name: 'sys', params: { rest: 'a/b' }, absolute: true }), '$SYS/a/b')
    t.equal(await run('topicFor', { name: 'number', params: { n: 'x' } }), 'FST_MQTT_PARAM')
    t.equal(await run('topicFor', { name: 'color', params: { c: 255 } }), 'FST_MQTT_ROUTE_UNKNOWN', 'a converter is a function')
    t.equal(await run('topicFor', { name: 'late' }), 'FST_MQTT_ROUTE_UNKNOWN')
    app.mqtt.topic('late/one', { name: 'late' }, () => {})
    await route.remove()
    await waitFor(async () => await run('topicFor', { name: 'late' }) === 'late/one', 'the new name')
    t.equal(await run('topicFor', { name: 'number', params: { n: 1 } }), 'FST_MQTT_ROUTE_UNKNOWN')
  })
  t.end()
})
