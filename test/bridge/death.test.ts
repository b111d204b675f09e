import t from 'tap'
import { Station } from './station.ts'
import { endOf, run, spawn } from './threads.ts'

/*
 * P15: what was handed over survives the worker. Each way to die, many times, the first publish of a worker included.
 */

const COUNT = 300

for (const qos of [0, 1] as const) {
  const burst = { topic: 'last', count: COUNT, size: 100, qos }

  for (const [name, death] of [['andExit', []], ['andThrow', ['on purpose']], ['andReject', ['on purpose']]] as const) {
    t.test(`QoS ${qos} ${name}`, async t => {
      const station = new Station({ prefix: 'p' })
      t.teardown(() => station.close())
      const errors = await Promise.all([1, 2, 3, 4].map(() => endOf(spawn(name, burst))))
      t.same(errors.flatMap(error => error?.message ?? []), errors.flatMap(() => death))
      await station.link.until(4 * COUNT)
      t.equal(station.received.length, 4 * COUNT)
      t.equal(station.received.filter(({ topic }) => topic === 'p/last/299').length, 4)
    })
  }

  t.test(`QoS ${qos} terminate`, async t => {
    const station = new Station()
    t.teardown(() => station.close())
    const ended = new Int32Array(new SharedArrayBuffer(4))
    const worker = spawn('andSpin', { ...burst, ended })
    // This thread reads nothing until the worker is gone.
    t.not(Atomics.wait(ended, 0, 0, 10_000), 'timed-out')
    await worker.terminate()
    await station.link.until(COUNT)
    t.equal(station.received.length, COUNT)
  })

  t.test(`QoS ${qos} out of memory`, async t => {
    const station = new Station()
    t.teardown(() => station.close())
    const error = await endOf(spawn('andExhaust', burst, { resourceLimits: { maxOldGenerationSizeMb: 32 } }))
    t.match(error, { code: 'ERR_WORKER_OUT_OF_MEMORY' })
    await station.link.until(COUNT)
    t.equal(station.received.length, COUNT)
  })
}

for (const how of ['exit', 'throw', 'spin'] as const) {
  t.test(`while the main thread is busy from before the first publish until after the end: ${how}`, async t => {
    const station = new Station({ prefix: 'p' })
    t.teardown(() => station.close())
    const ended = new Int32Array(new SharedArrayBuffer(4))
    const worker = spawn('flagged', { topic: 'last', count: COUNT, qos: 1, ended, how })
    const end = endOf(worker)
    t.not(Atomics.wait(ended, 0, 0, 10_000), 'timed-out')
    if (how === 'spin') void worker.terminate()
    // Long enough for the thread to be gone, so that its end and its last words are read in one turn.
    Atomics.wait(ended, 0, 1, 200)
    await end
    await station.link.until(COUNT)
    t.same(station.topics, Array.from({ length: COUNT }, (_, i) => `p/last/${i}`))
  })
}

t.test('in a listener of exit', async t => {
  const station = new Station()
  t.teardown(() => station.close())
  await endOf(spawn('whileExiting', { topic: 'first', count: 3 }))
  await station.link.until(4)
  t.same(station.topics, ['first/0', 'exit/0', 'exit/1', 'exit/2'])
})

t.test('what a dead worker handed over is taken when the application closes right then', async t => {
  const station = new Station({ offline: true })
  await endOf(spawn('andExit', { topic: 'last', count: COUNT, qos: 1 }))
  await station.bridge.close()
  t.equal(station.outbox.messages, COUNT)
  station.connect()
  await station.outbox.drained()
  t.equal(station.received.length, COUNT)
  station.outbox.close()
})

t.test('publishes of a dead worker are not mistaken for those of the next', async t => {
  const station = new Station()
  t.teardown(() => station.close())
  station.link.answers = false
  await endOf(spawn('andExit', { topic: 'dead', count: 10, qos: 1 }))
  await station.link.until(10)
  const next = run('awaited', { topic: 'next', count: 10, qos: 1 })
  await station.link.until(20)
  station.link.release()
  t.equal((await next).length, 10)
  t.equal(station.outbox.messages, 0)
})
