import { once } from 'node:events'
import { Piscina } from 'piscina'
import t from 'tap'
import { BroadcastChannel, receiveMessageOnPort, setEnvironmentData } from 'node:worker_threads'
import { ENVIRONMENT_KEY, isHandshake, SPARE_CHANNEL, type Environment, type Handshake, type SpareMessage } from '../../lib/bridge/protocol.ts'
import { waitFor, withinTime } from '../support/events.ts'
import { Station } from './station.ts'
import { endOf, PLAIN, Puppet, resultOf, run, spawn } from './threads.ts'

/* Workers that are ahead of `register`, or have said nothing before their end. */

const OK = { reasonCode: 0 }
const filename = new URL('./fixtures/tasks.js', import.meta.url).href

/** Counts handshakes while nobody takes them. */
async function attempts (count: number): Promise<void> {
  let seen = 0
  const listener = (): void => { seen++ }
  process.on('workerMessage', listener)
  await waitFor(() => seen >= count, `${count} attempts`)
  process.off('workerMessage', listener)
}

t.test('a worker ahead of register that publishes again right after it, and ends', async t => {
  const worker = spawn('onceMoreAndExit', { topic: 'early' })
  const end = endOf(worker)
  await attempts(5)
  const station = new Station()
  t.teardown(() => station.close())
  worker.postMessage('go')
  await end
  await station.link.until(2)
  t.same(station.topics, ['early/0', 'early/1'])
  t.same(station.logged, [])
})

t.test('a worker that ends while it waits for its parent to attach it', async t => {
  const worker = spawn('onceMoreAndExit', { topic: 'early' })
  const end = endOf(worker)
  await withinTime(new Promise<void>(resolve => { worker.on('message', message => { if (isHandshake(message)) resolve() }) }), 'the way of attach')
  const station = new Station()
  t.teardown(() => station.close())
  worker.postMessage('go')
  await end
  await station.link.until(2)
  t.same(station.topics, ['early/0', 'early/1'])
})

t.test('P3: whoever gives up on a main thread that is busy says that it may have been sent', async t => {
  const station = new Station()
  t.teardown(() => station.close())
  const worker = spawn('awaited', { topic: 'busy', count: 1, qos: 1 })
  const result = resultOf<unknown[]>(worker)
  await once(worker, 'online')
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 6_000)
  t.match(await result, [{ code: 'FST_MQTT_CLOSED', maybeSent: true }])
  await station.link.until(1)
})

for (const atomics of ['sync', 'async', 'disabled'] as const) {
  t.test(`P17, a pool ahead of register, nothing awaited, atomics ${atomics}`, async t => {
    const pool = new Piscina({ filename, ...PLAIN, minThreads: 1, maxThreads: 1, atomics })
    t.teardown(() => pool.destroy())
    const first = attempts(1)
    await pool.run({ topic: 'before', count: 3, qos: 1 }, { name: 'unawaited' })
    await first
    const station = new Station()
    t.teardown(() => station.close())
    for (let i = 0; i < 3; i++) await pool.run({ topic: `after/${i}`, count: 1, qos: 1 }, { name: 'unawaited' })
    await pool.destroy()
    await station.link.until(6)
    t.same(station.topics, ['before/0', 'before/1', 'before/2', 'after/0/0', 'after/1/0', 'after/2/0'])
    t.same(station.logged, [])
  })
}

for (const how of ['exit', 'throw'] as const) {
  for (const qos of [0, 1] as const) {
    t.test(`P15, the first publish is in a listener of exit: ${how}, QoS ${qos}`, async t => {
      const station = new Station({ prefix: 'p' })
      t.teardown(() => station.close())
      await endOf(spawn('firstWhileExiting', { topic: 'last', count: 3, qos, how }))
      await station.link.until(3)
      t.same(station.topics, ['p/last/0', 'p/last/1', 'p/last/2'])
    })
  }
}

t.test('a listener of the application for workerMessage that throws over what it does not know', async t => {
  const rude = (): never => { throw new Error('what is this?') }
  process.on('workerMessage', rude)
  t.teardown(() => process.off('workerMessage', rude))
  const station = new Station()
  t.teardown(() => station.close())
  t.same(await run('awaited', { topic: 'a', count: 1, qos: 1 }), [OK])
})

t.test('P3: the same where that listener is in front of ours', async t => {
  const station = new Station()
  t.teardown(() => station.close())
  const rude = (): never => { throw new Error('what is this?') }
  process.prependListener('workerMessage', rude)
  t.teardown(() => process.off('workerMessage', rude))
  t.match(await run('awaited', { topic: 'a', count: 1, qos: 1 }), [{ code: 'FST_MQTT_CLOSED', maybeSent: true, message: /workerMessage throws/ }])
  t.same(station.topics, ['a/0'], 'it has come by the broadcast')
})

t.test('a thread that sleeps between tasks finds the next application', async t => {
  const one = new Station({ prefix: 'one' })
  const pool = new Piscina({ filename, ...PLAIN, minThreads: 1, maxThreads: 1, atomics: 'sync' })
  t.teardown(() => pool.destroy())
  t.same(await pool.run({ topic: 'a', count: 1, qos: 1 }, { name: 'awaited' }), [OK])
  await one.close()
  t.match(await pool.run({ topic: 'b', count: 1 }, { name: 'awaited' }), [{ code: 'FST_MQTT_CLOSED', maybeSent: false }], 'QoS 0 is not done, there is nobody to hand it to')
  const two = new Station({ prefix: 'two' })
  t.teardown(() => two.close())
  t.same(await pool.run({ topic: 'c', count: 1, qos: 1 }, { name: 'awaited' }), [OK])
  t.same(two.topics, ['two/c/0'])
})

t.test('a live worker ahead of register that publishes all the time: all of it, once, in order', async t => {
  for (let round = 0; round < 10; round++) {
    const worker = spawn('everyTurn', { topic: 'live', count: 60, qos: 1 })
    const result = resultOf<unknown[]>(worker)
    await attempts(1 + round % 4)
    const station = new Station()
    t.same(await result, Array(60).fill(OK))
    t.same(station.topics, Array.from({ length: 60 }, (_, i) => `live/${i}`))
    t.same(station.logged, [])
    await station.close()
  }
})

t.test('a worker that nobody answers says nothing again and again', async t => {
  const broadcast: string[] = []
  const channel = new BroadcastChannel(SPARE_CHANNEL)
  channel.onmessage = event => { broadcast.push((event as { data: SpareMessage }).data.client) }
  t.teardown(() => { channel.close() })
  const asked: Handshake[] = []
  const listener = (value: unknown): void => { if (isHandshake(value)) asked.push(value) }
  process.on('workerMessage', listener)
  t.teardown(() => process.off('workerMessage', listener))
  const workers = [1, 2, 3].map(() => spawn('unawaited', { topic: 'a', count: 5, size: 100, qos: 1 }))
  const ends = workers.map(endOf)
  await waitFor(() => asked.length >= 15, 'fifteen attempts')
  const posted = asked.filter(({ port }) => receiveMessageOnPort(port) !== undefined).map(({ client }) => client)
  for (const said of [broadcast, posted]) {
    t.equal(said.length, 3)
    t.equal(new Set(said).size, 3)
  }
  for (const worker of workers) await worker.terminate()
  await Promise.all(ends)
})

t.test('a worker that was told of a thread whose application has closed finds that of the main thread', async t => {
  // As a worker of a worker thread is told whose application has closed since; that thread may be gone as well.
  const elsewhere: Environment = new Map([['', { threadId: 9_999, prefix: 'elsewhere', version: 5, maxBytes: 1e6 }]])
  setEnvironmentData(ENVIRONMENT_KEY, elsewhere as never)
  const puppet = new Puppet()
  setEnvironmentData(ENVIRONMENT_KEY, undefined as never)
  await puppet.started()
  const station = new Station({ prefix: 'here' })
  t.teardown(() => station.close())
  t.same(await puppet.publish({ topic: 'a', count: 2, qos: 1 }), [OK, OK])
  await puppet.end()
  t.same(station.topics, ['here/a/0', 'here/a/1'])
})

t.test('many namespaces in one worker', async t => {
  const station = new Station({ namespace: 'n0' })
  t.teardown(() => station.close())
  t.same(await run('namespaces', { topic: 'a', count: 12 }), [])
  await station.link.until(1)
})
