import { Piscina } from 'piscina'
import t from 'tap'
import type { QoS } from '../../lib/index.ts'
import { allSettings, buildApp, connect, live } from '../support/app.ts'
import { waitFor } from '../support/events.ts'
import type { PublishJob, PublishOutcome } from './fixtures/publish-task.ts'

const TASK = new URL('./fixtures/publish-task.js', import.meta.url).href
const TASKS = 4

for (const { name, skip, start } of allSettings()) {
  t.test(`four Piscina threads: ${name}`, { skip, timeout: 60_000 }, async t => {
    const { options, broker } = await start(t)
    const { app } = await buildApp(t, { ...options, prefix: 'plant', reconnect: { min: 10, max: 50 }, publishTimeout: 0 })
    const received = new Map<string, number[]>()
    app.mqtt.topic('worker/<int:task>/<int:qos>', { qos: 2 }, message => {
      const list = received.get(message.topic)
      if (list === undefined) received.set(message.topic, [Number(message.text())])
      else list.push(Number(message.text()))
    })
    await connect(app)
    const pool = new Piscina<PublishJob, PublishOutcome>({ filename: TASK, minThreads: TASKS, maxThreads: TASKS, concurrentTasksPerWorker: 1 })
    t.after(() => pool.destroy())

    const confirmed = new Map<string, Set<number>>()
    const threads = new Set<number>()
    const round = async (from: number, count: number, qos: QoS): Promise<void> => {
      await Promise.all(Array.from({ length: TASKS }, async (_, task) => {
        const outcome = await pool.run({ task, from, count, qos })
        threads.add(outcome.threadId)
        // A session lost in the middle of a QoS 2 exchange cannot be confirmed, and says so.
        t.strictSame(outcome.failed.filter(code => qos !== 2 || code !== 'FST_MQTT_SESSION_LOST'), [])
        const key = `worker/${task}/${qos}`
        confirmed.set(key, new Set([...confirmed.get(key) ?? [], ...outcome.confirmed]))
      }))
    }
    const missing = (): number => [...confirmed].reduce((sum, [key, numbers]) => {
      const seen = new Set(received.get(key))
      return sum + [...numbers].filter(n => !seen.has(n)).length
    }, 0)

    for (const qos of [0, 1, 2] as const) await round(0, 250, qos)
    await waitFor(() => missing() === 0, 'what was confirmed')
    for (const [key, numbers] of received) {
      t.strictSame(numbers, Array.from({ length: 250 }, (_, n) => n), `${key}: all, once, in order`)
    }
    t.ok(threads.size >= 2, `ran on ${threads.size} threads`)
    t.equal(app.mqtt.status().workers, threads.size)
    if (broker === undefined) return

    await broker.kill()
    await waitFor(() => !app.mqtt.connected, 'the loss')
    const offline = [round(250, 250, 1), round(250, 250, 2)]
    await broker.start()
    await live(app)
    await Promise.all(offline)
    await waitFor(() => missing() === 0, 'what was confirmed over the restart')
    for (let task = 0; task < TASKS; task++) {
      const twice = received.get(`worker/${task}/2`)!
      t.equal(new Set(twice).size, twice.length, 'nothing twice at QoS 2')
    }
  })
}

t.test('attach decides between applications of one process', async t => {
  const first = await buildApp(t, { embedded: true, prefix: 'first' })
  const second = await buildApp(t, { embedded: true, prefix: 'second' })
  const seen: string[] = []
  for (const { app } of [first, second]) {
    app.mqtt.topic('worker/#', { qos: 1 }, message => { seen.push(message.absoluteTopic) })
    await connect(app)
  }
  const pool = new Piscina<PublishJob, PublishOutcome>({ filename: TASK, minThreads: 1, maxThreads: 1 })
  t.after(() => pool.destroy())
  first.app.mqtt.attach(pool)
  await pool.run({ task: 0, from: 0, count: 1, qos: 1 })
  await waitFor(() => seen.length === 1, 'the message')
  t.strictSame(seen, ['first/worker/0/1'])
})
