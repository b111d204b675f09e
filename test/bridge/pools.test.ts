import { fileURLToPath } from 'node:url'
import { DynamicThreadPool, FixedThreadPool, type ThreadPoolOptions } from 'poolifier'
import t, { type Test } from 'tap'
import { Tinypool } from 'tinypool'
import { waitFor, withinTime } from '../support/events.ts'
import type { Burst } from './fixtures/tasks.ts'
import { Station } from './station.ts'
import { PLAIN } from './threads.ts'

/* Pools other than Piscina: nothing is wired up for any of them. */

t.setTimeout(90_000)

const OK = { reasonCode: 0 }
const THREADS = 2

/** What the pools have in common. */
interface AnyPool {
  run (name: 'awaited' | 'unawaited' | 'andSpin', burst: Burst & { ended?: Int32Array }): Promise<unknown>
  destroy (): Promise<void>
}

function tinypool (options: object): AnyPool {
  const filename = new URL('./fixtures/tasks.js', import.meta.url).href
  const pool = new Tinypool({ filename, ...PLAIN, minThreads: THREADS, maxThreads: THREADS, ...options })
  return { run: async (name, burst) => await pool.run(burst, { name }), destroy: async () => { await pool.destroy() } }
}

const worker = fileURLToPath(new URL('./fixtures/poolifier-worker.js', import.meta.url))

function poolifier (create: (options: ThreadPoolOptions) => FixedThreadPool<Burst, unknown>): AnyPool {
  let threads = 0
  const pool = create({
    workerOptions: { ...PLAIN },
    onlineHandler: () => { threads++ },
    exitHandler: () => { threads-- }
  })
  return {
    run: async (name, burst) => await pool.execute(burst, name),
    // What its destroy() gives may never settle: it begins to wait for a thread's exit when that may be over.
    destroy: async () => {
      void pool.destroy()
      await waitFor(() => threads === 0, 'the end of its threads')
    }
  }
}

const POOLS: Record<string, () => AnyPool> = {
  tinypool: () => tinypool({}),
  'tinypool without atomics': () => tinypool({ useAtomics: false }),
  'tinypool, a thread for each task': () => tinypool({ isolateWorkers: true }),
  'poolifier FixedThreadPool': () => poolifier(options => new FixedThreadPool(THREADS, worker, options)),
  'poolifier DynamicThreadPool': () => poolifier(options => new DynamicThreadPool(1, THREADS, worker, options))
}

/** Every one of the topics, as often as it was published. */
function checkTopics (t: Test, station: Station, bursts: readonly Burst[], what: string): void {
  const expected = bursts.flatMap(({ topic, count }) => Array.from({ length: count }, (_, i) => `p/${topic}/${i}`))
  t.strictSame(station.topics.sort(), expected.sort(), what)
}

for (const [name, start] of Object.entries(POOLS)) {
  t.test(name, async t => {
    const station = new Station({ prefix: 'p' })
    const pool = start()
    t.teardown(() => station.close())
    t.teardown(() => pool.destroy())
    const bursts: Burst[] = []
    const run = async (task: 'awaited' | 'unawaited', burst: Burst): Promise<unknown> => {
      bursts.push(burst)
      return await withinTime(pool.run(task, burst), `a task of ${name}`)
    }
    for (const qos of [0, 1, 2] as const) {
      t.strictSame(await run('awaited', { topic: `awaited/${qos}`, count: 2, qos }), [OK, OK])
      await Promise.all(Array.from({ length: 4 }, (_, i) => run('unawaited', { topic: `unawaited/${qos}/${i}`, count: 50, qos })))
    }
    const total = 3 * (2 + 4 * 50)
    await station.link.until(total)
    checkTopics(t, station, bursts, `${total} publishes, 100 %`)
  })

  for (const qos of [0, 1, 2] as const) {
    t.test(`${name}: destroyed at once after the last task, QoS ${qos}`, async t => {
      const station = new Station({ prefix: 'p' })
      const pool = start()
      t.teardown(() => station.close())
      const bursts = Array.from({ length: 4 }, (_, i) => ({ topic: `last/${i}`, count: 400, size: 50, qos }))
      await withinTime(Promise.all(bursts.map(burst => pool.run('unawaited', burst))), 'the tasks')
      await withinTime(pool.destroy(), 'the end of the pool')
      await station.link.until(1600)
      checkTopics(t, station, bursts, '1 600 publishes, 100 %')
      await waitFor(() => station.bridge.workers === 0 && station.outbox.messages === 0, 'nothing to be left')
    })
  }

  t.test(`${name}: destroyed while a task runs`, async t => {
    const station = new Station({ prefix: 'p' })
    const pool = start()
    t.teardown(() => station.close())
    const ended = new Int32Array(new SharedArrayBuffer(4))
    const burst = { topic: 'spin', count: 200, qos: 1 as const, ended }
    // It never comes back: not every pool says so.
    void pool.run('andSpin', burst).catch(() => {})
    await waitFor(() => Atomics.load(ended, 0) === 1, 'the turn to end')
    await withinTime(pool.destroy(), 'the end of the pool')
    await station.link.until(200)
    checkTopics(t, station, [burst], '200 publishes, 100 %')
  })
}
