import t from 'tap'
import { readFile } from 'node:fs/promises'
import { EventEmitter } from 'node:events'
import { getEnvironmentData, MessageChannel } from 'node:worker_threads'
import { ENVIRONMENT_KEY, MARK, PROTOCOL, type Environment } from '../../lib/bridge/protocol.ts'
import { defineTopic, getMqtt, mqtt } from '../../workers/index.ts'
import { nextEvent, waitFor } from '../support/events.ts'
import { remaining } from './collect.ts'
import { Station } from './station.ts'
import { endOf, Puppet, run, spawn } from './threads.ts'

const OK = { reasonCode: 0 }

function environment (): Environment | undefined {
  return getEnvironmentData(ENVIRONMENT_KEY) as unknown as Environment | undefined
}

t.test('what workers are told when they start', async t => {
  t.equal(environment(), undefined)
  const listeners = process.listenerCount('workerMessage')
  const first = new Station({ prefix: 'one', maxBytes: 5 })
  const second = new Station({ namespace: 'plant2', prefix: 'two', version: 4 })
  t.same(environment(), new Map([
    ['', { threadId: 0, prefix: 'one', version: 5, maxBytes: 5 }],
    ['plant2', { threadId: 0, prefix: 'two', version: 4, maxBytes: 64 * 1024 * 1024 }]
  ]))
  first.version = 4
  first.bridge.setVersion(4)
  t.equal(environment()?.get('')?.version, 4)
  t.equal(process.listenerCount('workerMessage'), listeners + 1)
  await first.close()
  t.same([...environment()!.keys()], ['plant2'])
  await second.close()
  await second.close()
  t.equal(environment(), undefined)
  t.equal(process.listenerCount('workerMessage'), listeners)
})

t.test('namespaces', async t => {
  const first = new Station({ prefix: 'one' })
  const second = new Station({ namespace: 'plant2', prefix: 'two' })
  t.teardown(async () => { await first.close(); await second.close() })
  t.same(await run('awaited', { topic: 'a', count: 1, qos: 1 }), [OK])
  t.same(await run('awaited', { topic: 'a', count: 1, qos: 1, namespace: 'plant2' }), [OK])
  const [elapsed, results] = await run('timed', { topic: 'a', count: 1, qos: 1, namespace: 'nowhere' })
  t.ok(elapsed < 5000, `${elapsed} ms`)
  t.match(results, [{ code: 'FST_MQTT_NO_PLUGIN', maybeSent: false }])
  t.same(first.topics, ['one/a/0'])
  t.same(second.topics, ['two/a/0'])
})

t.test('several applications: the last one registered that is still open', async t => {
  const first = new Station({ prefix: 'first' })
  const second = new Station({ prefix: 'second' })
  const puppet = await new Puppet().started()
  t.same(await puppet.publish({ topic: 'a', count: 2, qos: 1 }), [OK, OK])
  await second.close()
  // It was told of the second one's prefix when it started.
  t.same(await run('awaited', { topic: 'b', count: 1, qos: 1 }), [OK])
  t.same(await puppet.publish({ topic: 'c', count: 2, qos: 1 }), [OK, OK])
  const third = new Station({ prefix: 'third' })
  t.same(await puppet.publish({ topic: 'd', count: 1, qos: 1 }), [OK], 'it stays with the one that it found')
  t.same(await run('awaited', { topic: 'e', count: 1, qos: 1 }), [OK])
  await first.close()
  await third.close()
  t.match(await puppet.publish({ topic: 'f', count: 1, qos: 1 }), [{ code: 'FST_MQTT_CLOSED', maybeSent: false }])
  t.match(await puppet.publish({ topic: 'g', count: 1 }), [{ code: 'FST_MQTT_CLOSED', maybeSent: false }])
  const fourth = new Station({ prefix: 'fourth' })
  t.same(await puppet.publish({ topic: 'h', count: 1, qos: 1 }), [OK])
  await fourth.close()
  await puppet.end()
  t.same(second.topics, ['second/a/0', 'second/a/1'])
  t.same(first.topics, ['first/b/0', 'first/c/0', 'first/c/1', 'first/d/0'])
  t.same(third.topics, ['third/e/0'])
  t.same(fourth.topics, ['fourth/h/0'])
})

t.test('a worker that was told of an application which has closed before its first publish', async t => {
  const gone = new Station({ prefix: 'gone/for/good', version: 4 })
  const puppet = await new Puppet().started()
  await gone.close()
  const here = new Station({ prefix: 'here' })
  t.same(await puppet.publish({ topic: 'a', count: 2 }), [OK, OK])
  await puppet.end()
  await here.close()
  t.same(here.topics, ['here/a/0', 'here/a/1'])
})

t.test('attach takes our handshakes and leaves everything else alone', async t => {
  const station = new Station()
  t.teardown(() => station.close())
  const pool = new EventEmitter()
  station.bridge.attach(pool)
  station.bridge.attach(pool)
  const { port1, port2 } = new MessageChannel()
  const ours = { ns: MARK, protocol: PROTOCOL, namespace: '', client: 'x', threadId: 1, port: port2 }
  for (const other of [undefined, null, 'text', {}, { ns: MARK }, { ...ours, protocol: 99 }, { ...ours, namespace: 'x' }, { ...ours, port: {} }]) {
    pool.emit('message', other)
  }
  t.equal(station.bridge.workers, 0)
  pool.emit('message', ours)
  t.equal(station.bridge.workers, 1)
  port1.close()
  await waitFor(() => station.bridge.workers === 0, 'the port to close')
})

t.test('attach lets go: of a worker when it has ended, of a pool when the application closes', async t => {
  const station = new Station()
  const worker = spawn('awaited', { topic: 'a', count: 1, qos: 1 })
  const pool = new EventEmitter()
  station.bridge.attach(worker)
  station.bridge.attach(pool)
  t.equal(worker.listenerCount('message'), 1)
  await endOf(worker)
  t.equal(worker.listenerCount('message'), 0)
  t.equal(pool.listenerCount('message'), 1)
  await station.close()
  t.equal(pool.listenerCount('message'), 0)
  t.same(station.topics, ['a/0'])
})

t.test('attach lets go: of a worker that outlives the application', async t => {
  const puppet = await new Puppet().started()
  const { worker } = puppet
  const listeners = (): Array<[unknown, number]> => worker.eventNames().map(name => [name, worker.listenerCount(name)])
  const before = listeners()
  const station = new Station()
  station.bridge.attach(worker)
  t.notSame(listeners(), before)
  await station.close()
  t.same(listeners(), before)
  await puppet.end()
})

t.test('an application that has closed is forgotten, once nothing of its workers can be on its way any more', async t => {
  async function lifetime (): Promise<WeakRef<Station>> {
    const station = new Station()
    t.same(await run('awaited', { topic: 'a', count: 1, qos: 1 }), [OK])
    const late: Array<() => void> = []
    const { restore } = t.intercept(globalThis, 'setTimeout', { value: (callback: () => void) => { late.push(callback); return { unref () {} } } })
    await station.close()
    restore()
    for (const callback of late.splice(0)) callback()
    return new WeakRef(station)
  }
  t.equal(await remaining([await lifetime(), await lifetime()], 0), 0)
})

t.test('a worker that asks twice is answered once, and its other port is closed', async t => {
  const station = new Station()
  t.teardown(() => station.close())
  const pool = new EventEmitter()
  station.bridge.attach(pool)
  const ports = [1, 2].map(() => {
    const { port1, port2 } = new MessageChannel()
    pool.emit('message', { ns: MARK, protocol: PROTOCOL, namespace: '', client: 'twice', threadId: 1, port: port2 })
    return port1
  })
  await nextEvent(ports[1]!, 'close')
  t.equal(station.bridge.workers, 1)
  ports[0]!.close()
})

t.test('a worker with another version of the package is told so, and its port is closed', async t => {
  const station = new Station()
  t.teardown(() => station.close())
  const { port1, port2 } = new MessageChannel()
  const said: unknown[] = []
  port1.on('message', message => { said.push(message) })
  process.emit('workerMessage', { ns: MARK, protocol: 99, namespace: '', client: 'x', threadId: 7, port: port2 }, 7)
  await nextEvent(port1, 'close')
  t.same(said, [{ type: 'mismatch', protocol: PROTOCOL }])
  t.equal(station.bridge.workers, 0)
})

t.test('nobody of that namespace: the port of the handshake is closed', async t => {
  const station = new Station()
  t.teardown(() => station.close())
  const { port1, port2 } = new MessageChannel()
  process.emit('workerMessage', { ns: MARK, protocol: PROTOCOL, namespace: 'nowhere', client: 'x', threadId: 7, port: port2 }, 7)
  await nextEvent(port1, 'close')
  t.equal(station.bridge.workers, 0)
})

t.test('the application\'s own thread is no worker', async t => {
  const alone = { code: 'FST_MQTT_NO_PLUGIN', maybeSent: false }
  await t.rejects(mqtt.publish('a', 'x'), alone)
  const station = new Station()
  t.teardown(() => station.close())
  await t.rejects(mqtt.publish('a', 'x', { qos: 1 }), alone)
  await t.rejects(mqtt.ready(), { code: 'FST_MQTT_NO_PLUGIN' })
  t.throws(() => mqtt.topicFor('name'), { code: 'FST_MQTT_NO_PLUGIN' })
  t.throws(() => mqtt.topicFor(defineTopic('a'), undefined as never, { absolute: true }), { code: 'FST_MQTT_NO_PLUGIN' })
  t.equal(getMqtt(), mqtt)
  t.equal(getMqtt('plant2'), getMqtt('plant2'))
})

t.test('a worker loads nothing heavy', async t => {
  const packages = new Set<string>()
  const files = new Set<string>()
  async function walk (url: URL): Promise<void> {
    if (files.has(url.href)) return
    files.add(url.href)
    const code = await readFile(url, 'utf8')
    for (const [, specifier] of code.matchAll(/^(?:import|export)\s(?:[\w\s{},*$]*?\sfrom\s)?\s*['"]([^'"]+)['"]/gm)) {
      if (specifier!.startsWith('.')) await walk(new URL(specifier!, url))
      else packages.add(specifier!)
    }
  }
  await walk(new URL('../../workers/index.js', import.meta.url))
  t.same([...packages].filter(name => !name.startsWith('node:')), ['@fastify/error'])
  t.ok(files.size > 15, `${files.size} files`)
})
