import { fileURLToPath } from 'node:url'
import autoload from '@fastify/autoload'
import fc from 'fast-check'
import Fastify, { type FastifyInstance } from 'fastify'
import fp from 'fastify-plugin'
import t from 'tap'
import multimqtt, { type Message, type MultiMqtt } from '../../lib/index.ts'
import { buildApp, connect, live } from '../support/app.ts'
import { connectClient } from '../support/client.ts'
import { waitFor } from '../support/events.ts'
import { mosquittoMissing, startMosquitto } from '../support/mosquitto.ts'
import { referenceMatch } from '../topics/reference.ts'
import { keepNotes, namePlace, noteHandler, write } from './fixtures/notebook.ts'
import { plant, topics, trees } from './fixtures/trees.ts'

/* Encapsulation (contract sections 4 and 5): what a plugin declares is its own, and that of the plugins inside it. */

t.setTimeout(60_000)

const AUTOLOAD = fileURLToPath(new URL('./fixtures/autoload', import.meta.url))

/** Publishes to each topic, and resolves with what was noted once there are as many notes. */
async function notesOf (app: FastifyInstance, notes: string[], published: string[], count = published.length): Promise<string[]> {
  for (const topic of published) await app.mqtt.publish(topic, '', { qos: 1 })
  await waitFor(() => notes.length >= count && app.mqtt.status().inbox.messages === 0, `${count} notes`)
    .catch((error: unknown) => { throw new Error(`${(error as Error).message}; there are ${notes.join(' | ')}`) })
  return notes.splice(0)
}

/** The connection of a namespace, without declaration merging: that would be for all tests. */
function namespaceOf (instance: FastifyInstance, name: string): MultiMqtt {
  return (instance.mqtt as unknown as Record<string, MultiMqtt>)[name]!
}

function fails (): never {
  throw new Error('broken')
}

t.test('a plugin wrapped by fastify-plugin shares the scope that it is registered in, and no other', async t => {
  const { app, logger } = await buildApp(t, { embedded: true })
  const notes = keepNotes(app)
  await app.register(async (one: FastifyInstance) => {
    namePlace(one, 'one')
    one.mqtt.topic('before', { qos: 1 }, fails)
    await one.register(fp(async (shared: FastifyInstance) => {
      t.equal(shared, one)
      t.equal(shared.mqtt, one.mqtt)
      shared.decorate('tool', 'hammer')
      shared.mqtt.setErrorHandler(function (_error, message) { write(this, 'handled', message) })
      shared.mqtt.topic('inside', { qos: 1 }, function (message) {
        t.equal(this, one)
        write(this, (this as unknown as { tool: string }).tool, message)
      })
      await shared.register(fp(async (deeper: FastifyInstance) => {
        t.equal(deeper.mqtt, one.mqtt)
        deeper.mqtt.topic('deeper', { qos: 1 }, fails)
      }))
    }))
    one.mqtt.topic('after', { qos: 1 }, fails)
    await one.register(async (inner: FastifyInstance) => {
      t.not(inner.mqtt, one.mqtt)
      inner.mqtt.topic('inner', { qos: 1 }, fails)
    })
  }, { mqttPrefix: 'one' })
  await app.register(async (two: FastifyInstance) => { two.mqtt.topic('sibling', { qos: 1 }, fails) })
  app.mqtt.topic('root', { qos: 1 }, fails)
  await connect(app)
  t.strictSame(await notesOf(app, notes, ['one/before', 'one/inside', 'one/deeper', 'one/after', 'one/inner']), [
    'handled@one one/before', 'hammer@one one/inside', 'handled@one one/deeper', 'handled@one one/after', 'handled@one one/inner'
  ])
  for (const topic of ['sibling', 'root']) await app.mqtt.publish(topic, '', { qos: 1 })
  await waitFor(() => app.mqtt.status().counters.failed === 6, 'six failures')
  t.strictSame(notes, [], 'neither the root nor a sibling has its error handler')
  t.equal(logger.lines.filter(({ level, line }) => level === 'error' && line.includes('MQTT handler failed')).length, 2, 'those have the default one')
})

t.test('`this` has the decorators of the scope: in handlers, error handlers and the not-found handler', async t => {
  const { app } = await buildApp(t, { embedded: true })
  const notes = keepNotes(app)
  const later = async (): Promise<void> => new Promise(resolve => { setImmediate(resolve) })
  for (const name of ['north', 'south']) {
    await app.register(async (wing: FastifyInstance) => {
      // The same decorator in both, each with a value of its own.
      namePlace(wing, name)
      wing.mqtt.setErrorHandler(async function (error, message) {
        await later()
        t.equal(this, wing)
        write(this, error.message, message)
      })
      wing.mqtt.topic('sync', { qos: 1 }, noteHandler('sync'))
      wing.mqtt.topic('async', { qos: 1 }, async function (message) {
        await later()
        t.equal(this, wing)
        write(this, 'async', message)
      })
      wing.mqtt.topic('late', { qos: 1 }).onMessage(noteHandler('late'))
      wing.mqtt.topic('fails', { qos: 1 }, fails)
      await wing.register(async (room: FastifyInstance) => {
        room.mqtt.topic('room', { qos: 1 }, noteHandler('room'))
        room.mqtt.topic('room/fails', { qos: 1 }, fails)
      })
      if (name === 'south') {
        wing.mqtt.setNotFoundHandler(async function (message) {
          await later()
          t.equal(this, wing)
          t.equal(message.route, undefined)
          write(this, 'nobody', message)
        })
      }
    }, { mqttPrefix: name })
  }
  await connect(app)
  await app.mqtt.subscribe('south/elsewhere')
  const inner = ['sync', 'async', 'late', 'fails', 'room', 'room/fails']
  const tags = ['sync', 'async', 'late', 'broken', 'room', 'broken']
  t.strictSame((await notesOf(app, notes, ['north', 'south'].flatMap(wing => inner.map(topic => `${wing}/${topic}`)))).sort(),
    ['north', 'south'].flatMap(wing => inner.map((topic, i) => `${tags[i]}@${wing} ${wing}/${topic}`)).sort())
  t.strictSame(await notesOf(app, notes, ['south/elsewhere']), ['nobody@south south/elsewhere'])
})

t.test('error handlers: the nearest one, whenever it was set, and never that of a sibling or a child', async t => {
  const { app } = await buildApp(t, { embedded: true })
  const notes = keepNotes(app)
  const handler = (tag: string) => function (this: FastifyInstance, _error: Error, message: Message): void { write(this, tag, message) }
  const scopes: FastifyInstance[] = []
  const scope = async (parent: FastifyInstance, mqttPrefix: string, inside: (child: FastifyInstance) => Promise<void> = async () => {}): Promise<void> => {
    await parent.register(async (child: FastifyInstance) => {
      scopes.push(child)
      child.mqtt.topic('x', { qos: 1 }, fails)
      await inside(child)
    }, { mqttPrefix })
  }
  await scope(app, 'a', async a => {
    await scope(a, '1')
    await scope(a, '2', async two => {
      await scope(two, 'deep')
      two.mqtt.setErrorHandler(handler('old'))
      two.mqtt.setErrorHandler(handler('of a/2'))
    })
    await scope(a, '3')
    // Behind the children, and it holds for them.
    a.mqtt.setErrorHandler(handler('of a'))
  })
  await scope(app, 'b')
  app.mqtt.setErrorHandler(handler('of the root'))
  app.mqtt.topic('x', { qos: 1 }, fails)
  await connect(app)
  const all = ['x', 'a/x', 'a/1/x', 'a/2/x', 'a/2/deep/x', 'a/3/x', 'b/x']
  t.strictSame(await notesOf(app, notes, all), [
    'of the root@root x', 'of a@root a/x', 'of a@root a/1/x', 'of a/2@root a/2/x', 'of a/2@root a/2/deep/x', 'of a@root a/3/x', 'of the root@root b/x'
  ])
  scopes.at(-1)!.mqtt.setErrorHandler(handler('of b'))
  t.strictSame(await notesOf(app, notes, ['b/x', 'x', 'a/x']), ['of b@root b/x', 'of the root@root x', 'of a@root a/x'], 'also while it runs')
})

t.test('an error handler that fails hands over to the one outside it, as Fastify\'s does', async t => {
  const { app } = await buildApp(t, { embedded: true })
  const seen: string[] = []
  app.setErrorHandler(async error => { seen.push(`http ${(error as Error).message}`) })
  app.mqtt.setErrorHandler(error => { seen.push(`mqtt ${error.message}`) })
  await app.register(async (child: FastifyInstance) => {
    child.setErrorHandler(async () => { throw new Error('second') })
    child.mqtt.setErrorHandler(async () => { throw new Error('second') })
    child.get('/', async () => fails())
    child.mqtt.topic('x', { qos: 1 }, fails)
  })
  await connect(app)
  await app.inject('/')
  await app.mqtt.publish('x', '', { qos: 1 })
  await waitFor(() => app.mqtt.status().counters.failed === 1 && app.mqtt.status().inbox.messages === 0, 'the failure')
  t.strictSame(seen, ['http second', 'mqtt second'])
})

t.test('the not-found handler of a scope, in its own scope; the root\'s for the rest, the last one set', async t => {
  const { app } = await buildApp(t, { embedded: true })
  const notes = keepNotes(app)
  app.mqtt.setNotFoundHandler(noteHandler('of the root'))
  await app.register(async (child: FastifyInstance) => {
    namePlace(child, 'child')
    child.mqtt.setNotFoundHandler(noteHandler('of the child'))
    child.mqtt.topic('known', { qos: 1 }, noteHandler('known'))
    // What fails in it is its own scope's to handle.
    child.mqtt.setErrorHandler(function (_error, message) { write(this, 'failed', message) })
    await child.register(async (inner: FastifyInstance) => { inner.mqtt.topic('inner/<int:n>', { qos: 1 }, noteHandler('inner')) })
  }, { mqttPrefix: 'child' })
  await connect(app)
  await app.mqtt.subscribe('child/#', { qos: 1 })
  t.strictSame(await notesOf(app, notes, ['child/known', 'child/unknown', 'child/inner/x', 'child/inner/1']), [
    'known@child child/known', 'of the child@child child/unknown', 'of the child@child child/inner/x', 'inner@child child/inner/1 n=1'
  ])
  app.mqtt.setNotFoundHandler(fails)
  app.mqtt.setErrorHandler(function (_error, message) { write(this, 'failed', message) })
  await app.mqtt.subscribe('elsewhere', { qos: 1 })
  t.strictSame(await notesOf(app, notes, ['child/unknown', 'elsewhere']), ['of the child@child child/unknown', 'failed@root elsewhere'])
  t.match(app.mqtt.status().counters, { unmatched: 4 })
})

t.test('the not-found handler of a scope is for what its mqttPrefix covers', async t => {
  const { app } = await buildApp(t, { embedded: true })
  const notes = keepNotes(app)
  app.mqtt.setNotFoundHandler(noteHandler('of the root'))
  await app.register(async (child: FastifyInstance) => {
    namePlace(child, 'child')
    child.mqtt.setNotFoundHandler(noteHandler('of the child'))
  }, { mqttPrefix: 'child/<int:n>' })
  await connect(app)
  await app.mqtt.subscribe('#', { qos: 1 })
  t.strictSame(await notesOf(app, notes, ['child/1/x', 'other', 'child/x']), ['of the child@child child/1/x', 'of the root@root other', 'of the root@root child/x'])
})

t.test('names are unique in the whole connection, and known in all of it', async t => {
  const { app } = await buildApp(t, { connect: false, prefix: 'plant' })
  function onDoor (): void {}
  let inside: FastifyInstance | undefined
  await app.register(async (one: FastifyInstance) => {
    one.mqtt.topic('door/<int:n>', { name: 'door' }, onDoor)
    one.mqtt.topic('bell', onDoor)
    await one.register(async (two: FastifyInstance) => {
      inside = two
      t.throws(() => two.mqtt.topic('gate', { name: 'door' }), { code: 'FST_MQTT_ROUTE_DUPLICATE', message: /"door".*"one\/<id>\/door\/<int:n>"/ })
      two.mqtt.topic('gate', { name: 'gate' }, () => {})
    }, { mqttPrefix: 'two' })
  }, { mqttPrefix: 'one/<id>' })
  await app.register(async (sibling: FastifyInstance) => {
    t.throws(() => sibling.mqtt.topic('gate', { name: 'gate' }), { code: 'FST_MQTT_ROUTE_DUPLICATE' })
    t.equal(sibling.mqtt.topicFor('door', { id: 'a', n: 4 }), 'one/a/door/4')
    t.equal(sibling.mqtt.filterFor('gate', { absolute: true }), 'plant/one/+/two/gate')
    t.equal(sibling.mqtt.topicFor('onDoor', { id: 'a' }), 'one/a/bell', 'a handler\'s name, of the route that has no other')
    sibling.mqtt.topic('bell', onDoor)
    t.throws(() => app.mqtt.topicFor('onDoor'), { code: 'FST_MQTT_ROUTE_UNKNOWN', message: /Several/ })
  }, { mqttPrefix: 'sibling' })
  t.equal(app.mqtt.topicFor('gate', { id: 'b' }, { absolute: true }), 'plant/one/b/two/gate')
  t.equal(inside!.mqtt.topicFor('door', { id: 'c', n: 1 }), 'one/c/door/1')
  t.throws(() => app.mqtt.topicFor('door', { n: 1 }), { code: 'FST_MQTT_PARAM', message: /id/ })
  await t.rejects(async () => app.register(async (other: FastifyInstance) => { other.mqtt.topic('x', { name: 'gate' }) }), { code: 'FST_MQTT_ROUTE_DUPLICATE' })
})

t.test('namespaces: handlers, names and prefixes are each connection\'s own, scopes are common', async t => {
  const { app, logger } = await buildApp(t, { embedded: true, prefix: 'one' })
  await app.register(multimqtt, { embedded: true, prefix: 'two', namespace: 'plant2' })
  const notes = keepNotes(app)
  await app.register(async (child: FastifyInstance) => {
    namePlace(child, 'child')
    const second = namespaceOf(child, 'plant2')
    t.equal(second, namespaceOf(child, 'plant2'))
    t.not(second, namespaceOf(app, 'plant2'))
    await child.register(fp(async (shared: FastifyInstance) => { t.equal(namespaceOf(shared, 'plant2'), second) }))
    child.mqtt.topic('same', { name: 'same', qos: 1 }, noteHandler('first'))
    second.topic('same', { name: 'same', qos: 1 }, noteHandler('second'))
    child.mqtt.topic('fails', { qos: 1 }, fails)
    second.topic('fails', { qos: 1 }, fails)
    second.setErrorHandler(function (_error, message) { write(this, 'failed in the second', message) })
    second.setNotFoundHandler(noteHandler('nobody in the second'))
  }, { mqttPrefix: 'child' })
  const first = app.mqtt
  const second = namespaceOf(app, 'plant2')
  second.topic('fails', { qos: 1 }, fails)
  await connect(app)
  await waitFor(() => second.connected && second.subscriptions.every(({ status }) => status === 'active'), 'the second')
  await first.subscribe('child/elsewhere')
  await second.subscribe('child/elsewhere')
  t.equal(first.topicFor('same', {}, { absolute: true }), 'one/child/same')
  t.equal(second.topicFor('same', {}, { absolute: true }), 'two/child/same')
  for (const topic of ['child/same', 'child/fails', 'child/elsewhere']) {
    await first.publish(topic, '', { qos: 1 })
    await second.publish(topic, '', { qos: 1 })
  }
  await second.publish('fails', '', { qos: 1 })
  await waitFor(() => notes.length === 4 && [first, second].every(mqtt => mqtt.status().inbox.messages === 0) && second.status().counters.failed === 2, 'all of them')
  t.strictSame(notes.sort(), [
    'failed in the second@child child/fails', 'first@child child/same', 'nobody in the second@child child/elsewhere', 'second@child child/same'
  ])
  t.equal(logger.lines.filter(({ level, line }) => level === 'error' && line.includes('MQTT handler failed')).length, 2, 'of the first, and of the second\'s root')
  t.match([first.status().counters, second.status().counters], [{ failed: 1, unmatched: 1, handled: 2 }, { failed: 2, unmatched: 1, handled: 2 }])
})

t.test('a connection of a child is the child\'s alone', async t => {
  const app = Fastify()
  t.after(() => app.close())
  const filters: string[] = []
  for (const prefix of ['one', 'two']) {
    await app.register(async (child: FastifyInstance) => {
      await child.register(multimqtt, { connect: false, prefix })
      filters.push(child.mqtt.topic('x', { name: 'x' }, () => {}).filter)
      await child.register(async (inner: FastifyInstance) => {
        filters.push(inner.mqtt.topic('y', () => {}).filter)
      }, { mqttPrefix: 'inner' })
    })
  }
  t.strictSame(filters, ['one/x', 'one/inner/y', 'two/x', 'two/inner/y'])
  t.equal(app.hasDecorator('mqtt'), false)
  await app.ready()
})

t.test('a plugin inside cannot have another connection of its own, named or not', async t => {
  for (const options of [{}, { namespace: 'plant2' }]) {
    const { app } = await buildApp(t, { connect: false })
    await t.rejects(async () => app.register(async (inner: FastifyInstance) => {
      await inner.register(multimqtt, { connect: false, ...options })
    }), { code: 'FST_MQTT_OPTIONS', message: /^namespace: / })
  }
  const { app } = await buildApp(t, { connect: false })
  await app.register(fp(async (shared: FastifyInstance) => { await shared.register(multimqtt, { connect: false, namespace: 'plant2', prefix: 'two' }) }))
  t.equal(namespaceOf(app, 'plant2').prefix, 'two', 'a plugin that shares the scope can')
})

t.test('mqttPrefix of a plugin that was registered before a namespace holds for that one, too', async t => {
  const { app } = await buildApp(t, { connect: false })
  let child: FastifyInstance | undefined
  await app.register(async (instance: FastifyInstance) => { child = instance }, { mqttPrefix: 'rooms/<int:room>' })
  await app.register(multimqtt, { namespace: 'plant2', connect: false })
  // Routes may come at any time: in onReady, in a handler.
  t.equal(child!.mqtt.topic('door', () => {}).filter, 'rooms/+/door')
  t.equal(namespaceOf(child!, 'plant2').topic('door', () => {}).filter, 'rooms/+/door')
})

t.test('options as a function: mqttPrefix in them counts for as much as Fastify\'s prefix', async t => {
  const { app } = await buildApp(t, { connect: false })
  await app.register(async (child: FastifyInstance) => {
    t.equal(child.mqtt.topic('x', () => {}).filter, child.prefix === '/p' ? 'p/x' : 'x')
  }, () => ({ prefix: '/p', mqttPrefix: 'p' }))
})

t.test('routes of async plugins: in turn, from hooks, and from handlers while it runs', async t => {
  const { app } = await buildApp(t, { embedded: true })
  const notes = keepNotes(app)
  const declared: string[] = []
  const declare = (instance: FastifyInstance, topic: string): void => {
    declared.push(topic)
    instance.mqtt.topic(topic, { qos: 1 }, noteHandler(topic))
  }
  // Nobody waits for these: avvio loads them one after another, each with its children.
  void app.register(async (one: FastifyInstance) => {
    namePlace(one, 'one')
    await new Promise(resolve => { setImmediate(resolve) })
    declare(one, 'slow')
    void one.register(async (inner: FastifyInstance) => {
      await Promise.resolve()
      declare(inner, 'inner')
    }, { mqttPrefix: 'in' })
    await new Promise(resolve => { setImmediate(resolve) })
    declare(one, 'slower')
  }, { mqttPrefix: 'one' })
  void app.register((two: FastifyInstance, _options: object, done: () => void) => {
    namePlace(two, 'two')
    declare(two, 'callback')
    two.addHook('onReady', async () => { declare(two, 'onReady') })
    two.mqtt.topic('add/<name>', { qos: 1 }, function ({ params }) { declare(this, params.name) })
    done()
  }, { mqttPrefix: 'two' })
  declare(app, 'root')
  void app.after(() => { declare(app, 'after') })
  await connect(app)
  t.strictSame(declared, ['root', 'slow', 'slower', 'inner', 'callback', 'after', 'onReady'])
  await app.mqtt.publish('two/add/new', '', { qos: 1 })
  await waitFor(() => declared.includes('new'), 'the route')
  await live(app)
  t.strictSame(await notesOf(app, notes, ['root', 'one/slow', 'one/slower', 'one/in/inner', 'two/callback', 'after', 'two/onReady', 'two/new']), [
    'root@root root', 'slow@one one/slow', 'slower@one one/slower', 'inner@one one/in/inner', 'callback@two two/callback', 'after@root after', 'onReady@two two/onReady',
    'new@two two/new'
  ])
})

t.test('several scopes on one topic: each once, in the order of registration', async t => {
  const { app } = await buildApp(t, { embedded: true })
  const notes = keepNotes(app)
  const first = app.mqtt.topic('a/<int:n>', { qos: 1 }, noteHandler('first'))
  void app.register(async (a: FastifyInstance) => {
    namePlace(a, 'a')
    a.mqtt.topic('<int:n>', { qos: 1 }, noteHandler('second')).onMessage(async function (message) {
      await Promise.resolve()
      write(this, 'and then', message)
    })
    void a.register(async (inner: FastifyInstance) => {
      inner.decorate('inner', true)
      inner.mqtt.topic('1', { qos: 1 }, noteHandler('fourth'))
      inner.mqtt.topic('a/+', { absolute: true, qos: 1 }, noteHandler('fifth'))
    })
    a.mqtt.topic('+', { qos: 1 }, noteHandler('third'))
  }, { mqttPrefix: 'a' })
  void app.register(fp(async (shared: FastifyInstance) => { shared.mqtt.topic('#', { qos: 1 }, noteHandler('sixth')) }), { mqttPrefix: 'ignored' })
  await connect(app)
  const once = await notesOf(app, notes, ['a/1'], 7)
  t.strictSame(once.map(note => note.split('@')[0]), ['first', 'second', 'third', 'fourth', 'fifth', 'sixth', 'and then'])
  await first.remove()
  app.mqtt.topic('a/<int:n>', { qos: 1 }, noteHandler('last'))
  await live(app)
  const again = await notesOf(app, notes, ['a/1'], 7)
  t.strictSame(again.map(note => note.split('@')[0]), ['second', 'third', 'fourth', 'fifth', 'sixth', 'last', 'and then'])
})

t.test('the answer is the first route\'s, whichever scope it is of and whichever is done first', { skip: mosquittoMissing() }, async t => {
  const broker = await startMosquitto(t)
  const { app } = await buildApp(t, { url: broker.url, protocolVersion: 5, prefix: 'plant' })
  await app.register(async (one: FastifyInstance) => {
    one.mqtt.topic('+', { qos: 1 }, () => {})
    await one.register(async (inner: FastifyInstance) => {
      inner.decorate('answer', 'of the inner one')
      inner.mqtt.topic('<name>', { qos: 1 }, async function () {
        await new Promise(resolve => { setImmediate(resolve) })
        return (this as unknown as { answer: string }).answer
      })
    })
  }, { mqttPrefix: 'ask' })
  await app.register(async (two: FastifyInstance) => { two.mqtt.topic('ask/it', { qos: 1 }, () => 'of the sibling') })
  await connect(app)
  for (let i = 0; i < 5; i++) t.equal((await app.mqtt.request('ask/it', '', { qos: 1 })).text(), 'of the inner one')
  const { client } = await connectClient(t, broker.url, { protocolVersion: 5 })
  await client.publishAsync('plant/ask/it', '', { qos: 1 })
  await waitFor(() => app.mqtt.status().counters.handled === 18, 'three runs for each')
})

for (const dirNameRoutePrefix of [true, false]) {
  t.test(`@fastify/autoload, ${dirNameRoutePrefix ? 'folders as prefixes of URLs' : 'no prefix from folders'}: topics follow mqttPrefix alone`, async t => {
    const { app } = await buildApp(t, { embedded: true, prefix: 'plant' })
    const notes = keepNotes(app)
    await app.register(async (site: FastifyInstance) => {
      await site.register(autoload, { dir: AUTOLOAD, forceESM: true, dirNameRoutePrefix, autoHooks: true, cascadeHooks: true })
    }, { mqttPrefix: 'site', prefix: '/site' })
    await connect(app)
    t.strictSame(app.mqtt.subscriptions.map(({ filter }) => filter).sort(), [
      'plant/site/lights/+', 'plant/site/rooms/+/broken', 'plant/site/rooms/+/doors/+/broken', 'plant/site/rooms/+/doors/+/open',
      'plant/site/rooms/+/temperature', 'plant/site/status'
    ])
    t.equal(app.mqtt.topicFor('open', { room: 7, name: 'front' }), 'site/rooms/7/doors/front/open')
    t.equal((await app.inject('/site/lamps')).body, 'site/lights/yard')
    t.equal((await app.inject('/site/status')).body, 'site/status')
    t.strictSame(await notesOf(app, notes, [
      'site/status', 'site/lights/hall', 'site/rooms/1/temperature', 'site/rooms/1/broken', 'site/rooms/2/doors/front/open', 'site/rooms/2/doors/front/broken'
    ]), [
      'status@root site/status', 'light@root site/lights/hall where=hall', 'temperature@rooms site/rooms/1/temperature room=1',
      'error "no sensor"@rooms site/rooms/1/broken room=1', 'open@rooms site/rooms/2/doors/front/open room=2 name=front',
      'error "stuck"@rooms site/rooms/2/doors/front/broken room=2 name=front'
    ])
    app.mqtt.topic('outside', { qos: 1 }, fails)
    await live(app)
    await app.mqtt.publish('outside', '', { qos: 1 })
    await waitFor(() => app.mqtt.status().counters.failed === 3, 'the failure')
    t.strictSame(notes, [], 'the error handler of a folder stays in it')
  })
}

t.test('@fastify/autoload: mqttPrefix among its options is for each file, and takes the place of the file\'s own', async t => {
  const { app } = await buildApp(t, { connect: false })
  keepNotes(app)
  await app.register(autoload, { dir: AUTOLOAD, forceESM: true, ignoreFilter: 'rooms', options: { mqttPrefix: 'all' } })
  t.strictSame(app.mqtt.subscriptions.map(({ filter }) => filter).sort(), ['all', 'all/status'])
})

t.test('random trees of plugins dispatch, and build topics, as their parts joined by slashes say', async t => {
  let runs = 0
  let routes = 0
  let matches = 0
  await fc.assert(fc.asyncProperty(fc.constantFrom('', 'g', 'g/h'), trees, topics, async (prefix, nodes, published) => {
    const app = Fastify()
    try {
      await app.register(multimqtt, { embedded: true, prefix })
      const arrived: string[] = []
      const got = new Map<string, string[]>()
      const wrong: string[] = []
      const expected = await plant(app, nodes, function (name, { topic, params, absoluteTopic }) {
        const route = byName.get(name)!
        got.set(topic, [...got.get(topic) ?? [], name])
        const match = referenceMatch(joined(prefix, route.pattern), absoluteTopic)
        if (match === null || this !== route.instance || JSON.stringify(params) !== JSON.stringify(match.params)) wrong.push(`${name} for ${topic}`)
      })
      const byName = new Map(expected.map(route => [route.name, route]))
      // This filter holds all others, so that on 3.1.1 one copy comes for all routes; and it is the last of them.
      app.mqtt.topic('#', { absolute: true, qos: 1 }, ({ topic }) => { arrived.push(topic) })
      await connect(app)
      for (const topic of published) await app.mqtt.publish(topic, '', { qos: 1 })
      await waitFor(() => arrived.length === published.length && app.mqtt.status().inbox.messages === 0, 'all messages')

      for (const topic of published) {
        const whole = joined(prefix, topic)
        const matching = expected.filter(({ pattern }) => referenceMatch(joined(prefix, pattern), whole) !== null)
        equal(got.get(topic) ?? [], matching.map(({ name }) => name))
        for (const { name, pattern, route } of matching) {
          if (/(^|\/)[+#](\/|$)/.test(pattern)) continue
          const { params } = referenceMatch(joined(prefix, pattern), whole)!
          equal([app.mqtt.topicFor(name, params), app.mqtt.topicFor(name, params, { absolute: true }), route.topicFor(params)], [topic, whole, topic])
        }
        matches += matching.length
      }
      for (const { name, pattern, route } of expected) {
        const filter = pattern.split('/').map(level => level.startsWith('<path') ? '#' : level.startsWith('<') ? '+' : level).join('/')
        equal([app.mqtt.filterFor(name), app.mqtt.filterFor(name, { absolute: true }), route.filter, route.pattern], [filter, joined(prefix, filter), joined(prefix, filter), pattern])
      }
      equal(wrong, [])
      runs++
      routes += expected.length
    } finally {
      await app.close()
    }
  }), { numRuns: 60, interruptAfterTimeLimit: 30_000 })
  t.ok(runs > 0 && matches > 0)
  t.comment(`${runs} trees, ${routes} routes, ${matches} runs of handlers`)
})

function joined (prefix: string, text: string): string {
  return prefix === '' ? text : `${prefix}/${text}`
}

/** Outside of tap: fast-check is to see it fail, and to look for a smaller case. */
function equal (found: unknown, wanted: unknown): void {
  const [one, other] = [JSON.stringify(found), JSON.stringify(wanted)]
  if (one !== other) throw new Error(`${one} should be ${other}`)
}
