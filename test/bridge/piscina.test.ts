import t from 'tap'
import { Piscina } from 'piscina'
import { getEnvironmentData } from 'node:worker_threads'
import { ENVIRONMENT_KEY } from '../../lib/bridge/protocol.ts'
import { waitFor } from '../support/events.ts'
import { Station } from './station.ts'
import { PLAIN } from './threads.ts'

const filename = new URL('./fixtures/tasks.js', import.meta.url).href
const OK = { reasonCode: 0 }

for (const atomics of ['sync', 'async', 'disabled'] as const) {
  t.test(`atomics: ${atomics}`, async t => {
    const station = new Station({ prefix: 'p' })
    const pool = new Piscina({ filename, ...PLAIN, atomics, minThreads: 2, maxThreads: 2 })
    t.teardown(() => station.close())
    t.teardown(() => pool.destroy())

    for (const qos of [0, 1, 2] as const) {
      t.same(await pool.run({ topic: `awaited/${qos}`, count: 2, qos }, { name: 'awaited' }), [OK, OK])
      await Promise.all(Array.from({ length: 20 }, () => pool.run({ topic: `unawaited/${qos}`, count: 5, qos }, { name: 'unawaited' })))
    }
    await station.link.until(3 * (2 + 20 * 5))
    for (const qos of [0, 1, 2]) {
      t.equal(station.topics.filter(topic => topic.startsWith(`p/awaited/${qos}`)).length, 2)
      t.equal(station.topics.filter(topic => topic.startsWith(`p/unawaited/${qos}`)).length, 100)
    }
    t.equal(station.bridge.workers, 2)
  })
}

t.test('a thread that never turns its event loop gets its answers, and its room back', async t => {
  const station = new Station({ maxBytes: 10_000 })
  const pool = new Piscina({ filename, ...PLAIN, maxThreads: 1, minThreads: 1 })
  t.teardown(() => station.close())
  t.teardown(() => pool.destroy())
  for (let i = 0; i < 30; i++) {
    await pool.run({ topic: 't', count: 5, size: 200, qos: 1 }, { name: 'unawaited' })
    await waitFor(() => station.received.length === (i + 1) * 5 && station.outbox.messages === 0, `round ${i} (${station.received.length})`)
  }
  t.equal(station.outbox.counters.refused, 0)
})

for (const atomics of ['sync', 'async', 'disabled'] as const) {
  t.test(`a pool whose idle threads are recycled, atomics: ${atomics}`, async t => {
    const station = new Station()
    const pool = new Piscina({ filename, ...PLAIN, atomics, minThreads: 0, maxThreads: 2, idleTimeout: 0 })
    t.teardown(() => station.close())
    t.teardown(() => pool.destroy())
    const seen = new Set<number>()
    for (let i = 0; i < 4; i++) {
      await Promise.all([1, 2].map(() => pool.run({ topic: 't', count: 10, qos: i % 2 as 0 | 1 }, { name: 'unawaited' })))
      for (const { threadId } of pool.threads) seen.add(threadId)
      await waitFor(() => pool.threads.length === 0, 'the end of the idle threads')
    }
    await station.link.until(80)
    t.equal(station.received.length, 80)
    t.comment(`${seen.size} threads`)
    await waitFor(() => station.bridge.workers === 0 && station.outbox.messages === 0, 'nothing to be left of them')
  })
}

t.test('abort and destroy', async t => {
  const station = new Station()
  t.teardown(() => station.close())
  const pool = new Piscina({ filename, ...PLAIN, maxThreads: 1 })
  const controller = new AbortController()
  const ended = new Int32Array(new SharedArrayBuffer(4))
  const task = pool.run({ topic: 'abort', count: 100, ended }, { name: 'andSpin', signal: controller.signal })
  const outcome = t.rejects(task, { name: 'AbortError' })
  await waitFor(() => Atomics.load(ended, 0) === 1, 'the turn to end')
  controller.abort()
  await outcome
  ended[0] = 0
  const other = pool.run({ topic: 'destroy', count: 100, qos: 1, ended }, { name: 'andSpin' })
  const end = t.rejects(other)
  await waitFor(() => Atomics.load(ended, 0) === 1, 'the turn to end')
  await pool.destroy()
  await end
  await station.link.until(200)
  t.equal(station.received.length, 200)
})

t.test('attach takes a pool, too', async t => {
  const station = new Station()
  // As if the pool could not know where to look.
  const pool = new Piscina({ filename, ...PLAIN, maxThreads: 1, minThreads: 1 })
  t.teardown(() => station.close())
  t.teardown(() => pool.destroy())
  station.bridge.attach(pool)
  t.equal((getEnvironmentData(ENVIRONMENT_KEY) as unknown as Map<string, unknown>).size, 1)
  t.same(await pool.run({ topic: 'a', count: 1, qos: 1 }, { name: 'awaited' }), [OK])
})
