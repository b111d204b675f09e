import t from 'tap'
import { once } from 'node:events'
import { Worker } from 'node:worker_threads'
import { waitFor } from '../support/events.ts'
import { Station } from './station.ts'
import { endOf, PLAIN, resultOf, run, spawn } from './threads.ts'

const OK = { reasonCode: 0 }

for (const qos of [0, 1, 2] as const) {
  t.test(`QoS ${qos}, from a plain worker and a nested one`, async t => {
    const station = new Station({ prefix: 'pre' })
    t.teardown(() => station.close())
    t.same(await run('awaited', { topic: 'plain', count: 3, qos }), [OK, OK, OK])
    t.same(await run('nested', { name: 'awaited', arg: { topic: 'nested', count: 3, qos } }), [OK, OK, OK])
    await station.link.until(6)
    t.same(station.topics, ['pre/plain/0', 'pre/plain/1', 'pre/plain/2', 'pre/nested/0', 'pre/nested/1', 'pre/nested/2'])
    t.ok(station.received.every(message => message.qos === qos))
    await waitFor(() => station.bridge.workers === 0, 'the ports of dead workers to be forgotten')
  })
}

t.test('QoS 0 that was done when it was handed over is taken, whatever else the outbox holds', async t => {
  const station = new Station({ offline: true, limits: { maxMessages: 10 } })
  t.teardown(() => station.close())
  const full = await run('awaited', { topic: 'full', count: 12, qos: 1, timeout: 50 }) as unknown[]
  t.equal(full.filter(outcome => (outcome as { code?: string }).code === 'FST_MQTT_OUTBOX_FULL').length, 5)
  t.equal(await run('inTurns', { topic: 'small', count: 2_000, qos: 0 }), 2_000)
  station.connect()
  await station.link.until(2_000)
  t.equal(station.topics.filter(topic => topic.startsWith('small/')).length, 2_000)
})

t.test('each worker\'s order is kept over every QoS', async t => {
  const station = new Station()
  t.teardown(() => station.close())
  const topics = ['a', 'b']
  await Promise.all(topics.map(topic => endOf(spawn('mixed', { topic, count: 3000 }))))
  await station.link.until(6000)
  for (const one of topics) {
    const numbers = station.received.filter(({ topic }) => topic === one).map(({ payload }) => Number(payload))
    t.same(numbers, Array.from({ length: 3000 }, (_, i) => i))
  }
})

t.test('a worker that published before the plugin was registered', async t => {
  // Somebody else's listener: it gets our handshakes, and takes none.
  let attempts = 0
  const listener = (): void => { attempts++ }
  process.on('workerMessage', listener)
  t.teardown(() => process.off('workerMessage', listener))
  const result = run('awaited', { topic: 'early', count: 2, qos: 1 })
  await waitFor(() => attempts === 3, 'three attempts')
  const station = new Station({ prefix: 'late' })
  t.teardown(() => station.close())
  t.same(await result, [OK, OK])
  t.same(station.topics, ['late/early/0', 'late/early/1'])
})

t.test('no plugin: FST_MQTT_NO_PLUGIN within 5 s', async t => {
  const [elapsed, results] = await run('timed', { topic: 'a', count: 2 })
  t.ok(elapsed < 5000, `${elapsed} ms`)
  t.match(results, [{ code: 'FST_MQTT_NO_PLUGIN', maybeSent: false }, { code: 'FST_MQTT_NO_PLUGIN', maybeSent: false }])
})

t.test('bad input from a worker', async t => {
  const station = new Station()
  t.teardown(() => station.close())
  const codes = await run('bad', { topic: 'fine' })
  t.same(codes, [
    ...Array<string>(8).fill('FST_MQTT_TOPIC'), ...Array<string>(4).fill('FST_MQTT_PAYLOAD'), ...Array<string>(4).fill('FST_MQTT_PROPERTY')
  ])
  t.equal(station.received.length, codes.length + 1)
  t.ok(station.received.every(({ topic, payload }) => topic === 'fine' && payload === 'bystander'))
})

t.test('views on all kinds of memory', async t => {
  const station = new Station()
  t.teardown(() => station.close())
  t.same(await run('views', { topic: 'v' }), [6, 2, 20_000, 4])
  t.same(station.received.map(({ payload }) => payload), ['pooled', 'BB', 'C'.repeat(20_000), 'AAAA', 'D'])
})

t.test('definitions', async t => {
  const station = new Station({ prefix: 'p' })
  t.teardown(() => station.close())
  t.same(await run('definitions', undefined as never), ['number/7', 'p/number/7', 'FST_MQTT_PARAM'])
  t.match(station.received, [{ topic: 'p/number/42', payload: 'with' }, { topic: 'p/plain', payload: 'without' }])
})

t.test('an idle worker exits by itself, at once', async t => {
  const station = new Station()
  t.teardown(() => station.close())
  const worker = spawn('awaited', { topic: 'a', count: 1, qos: 1 })
  const exit = once(worker, 'exit')
  await once(worker, 'message')
  const start = performance.now()
  await exit
  const elapsed = performance.now() - start
  t.ok(elapsed < 1000, `${elapsed} ms`)
  t.comment(`${elapsed.toFixed(1)} ms`)
})

t.test('a worker with unconfirmed publishes stays until they settle', async t => {
  const station = new Station()
  t.teardown(() => station.close())
  station.link.answers = false
  const worker = spawn('unawaited', { topic: 'a', count: 1, qos: 1 })
  let exited = false
  const end = endOf(worker).then(() => { exited = true })
  await Promise.all([once(worker, 'message'), station.link.until(1)])
  const start = performance.now()
  await waitFor(() => performance.now() - start > 100, 'a while')
  t.equal(exited, false)
  station.link.release()
  await end
})

for (const attach of [false, true]) {
  t.test(`an application that lives in a worker thread${attach ? ', with attach' : ''}`, async t => {
    const outer = new Station()
    if (attach) await outer.close()
    t.teardown(() => outer.close())
    const host = new Worker(new URL('./fixtures/host.js', import.meta.url), { ...PLAIN, workerData: { attach } })
    t.same(await resultOf(host), { topics: ['inner/nested/0', 'inner/nested/1'], results: [OK, OK] })
    t.equal(outer.received.length, 0)
  })
}
