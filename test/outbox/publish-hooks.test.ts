import t, { type Test } from 'tap'
import { setMaxListeners } from 'node:events'
import type { FastifyInstance } from 'fastify'
import type { InjectResult, Message, MqttError, MqttPluginOptions, PublishPacket, QoS } from '../../lib/index.ts'
import { Delivery } from '../../lib/outbox/delivery.ts'
import { Outbox } from '../../lib/outbox/outbox.ts'
import { PublishHooks } from '../../lib/outbox/publish-hooks.ts'
import { Publisher } from '../../lib/outbox/publisher.ts'
import { Recorder } from '../../lib/outbox/recorder.ts'
import { Hooks } from '../../lib/routing/hooks.ts'
import { LedgerLink } from '../bridge/station.ts'
import { allSettings, buildApp, connect } from '../support/app.ts'
import { waitFor, withinTime } from '../support/events.ts'
import { mosquittoMissing, startMosquitto } from '../support/mosquitto.ts'
import { delivery, info, Wire } from './support.ts'

/* OnPublish and onPublished, on the main thread. */

const turn = (): Promise<void> => new Promise(resolve => { setImmediate(resolve) })
const turns = async (count: number): Promise<void> => { for (; count > 0; count--) await turn() }
/** A promise that is settled from outside. */
function gate (): { opened: Promise<void>, open: () => void } {
  let open!: () => void
  const opened = new Promise<void>(resolve => { open = resolve })
  return { opened, open }
}

/** An application without a broker; what is published is looked at by hooks that are added last. */
async function offline (t: Test, options: MqttPluginOptions = {}) {
  const { app, logger } = await buildApp(t, { connect: false, prefix: 'plant', ...options })
  return { app, logger, errors: () => logger.lines.filter(({ level }) => level === 'error') }
}

/** What became of a publish. */
function outcome (promise: Promise<unknown>): Promise<unknown> {
  return withinTime(promise.then(() => 'published', (error: MqttError) => `${error.code ?? error.message} ${error.maybeSent}`), 'a publish to settle')
}

for (const { name, skip, start } of allSettings()) {
  t.test(name, { skip }, t => {
    const build = async (t: Test): Promise<{ app: FastifyInstance, received: Message[] }> => {
      const { options } = await start(t)
      const { app } = await buildApp(t, { ...options, prefix: 'plant' })
      const received: Message[] = []
      app.mqtt.topic('out/#', { qos: 2 }, message => { received.push(message) })
      return { app, received }
    }

    for (const how of ['sync', 'async'] as const) {
      t.test(`${how}: each field that a hook changes is what is sent`, async t => {
        const { app, received } = await build(t)
        app.mqtt.addHook('onPublish', packet => {
          const change = (): void => {
            const field = packet.topic.split('/').at(-1)
            if (field === 'topic') packet.topic = 'plant/out/moved'
            if (field === 'payload') packet.payload = { replaced: true }
            if (field === 'place') packet.payload[0] = 0x59
            if (field === 'qos') packet.qos = 2
            if (field === 'properties') packet.properties.userProperties = { by: 'hook' }
          }
          return how === 'sync' ? change() : turn().then(change)
        })
        await connect(app)
        for (const field of ['topic', 'payload', 'place', 'qos', 'properties']) await app.mqtt.publish(`out/${field}`, 'x', { qos: 1 })
        await waitFor(() => received.length === 5, 'all five')
        // aedes confirms before it hands on, and then not always in order.
        received.sort((a, b) => a.topic < b.topic ? -1 : 1)
        t.strictSame(received.map(message => [message.topic, message.text(), message.qos]), [
          ['out/moved', 'x', 1], ['out/payload', '{"replaced":true}', 1], ['out/place', 'Y', 1], ['out/properties', 'x', 1], ['out/qos', 'x', 2]
        ])
        if (app.mqtt.protocolVersion === 5) t.strictSame({ ...received[3]!.properties.userProperties }, { by: 'hook' })
      })

      t.test(`${how}: retain`, async t => {
        const { app } = await build(t)
        let stored = false
        app.mqtt.topic('state/lamp', () => { stored = true })
        app.mqtt.addHook('onPublish', packet => {
          const keep = (): void => { packet.retain = true }
          return how === 'sync' ? keep() : turn().then(keep)
        })
        await connect(app)
        await app.mqtt.publish('state/lamp', 'x', { qos: 1 })
        // aedes confirms before it stores; once somebody has the message, it has stored it.
        await waitFor(() => stored, 'the message')
        let kept: Message | undefined
        app.mqtt.topic('state/+', message => { kept = message })
        await waitFor(() => kept !== undefined, 'what was kept')
        t.equal(kept?.retain, true)
      })
    }

    t.test('order is kept, whatever the hooks take, with and without hooks', async t => {
      const { app, received } = await build(t)
      let scope!: FastifyInstance
      await app.register(async child => {
        scope = child
        child.mqtt.addHook('onPublish', async packet => { await turns(Number(packet.payload) * 7 % 5) })
        child.mqtt.addHook('onPublish', packet => Number(packet.payload) % 3 === 0 ? undefined : turn())
      })
      await connect(app)
      const count = 300
      // Each by itself: between one QoS and another the broker keeps no order.
      for (const qos of [0, 1, 2] as const) {
        // Every fourth has no hooks, and waits for its turn all the same.
        await Promise.all(Array.from({ length: count }, (_, n) => (n % 4 === 0 ? app : scope).mqtt.publish('out/order', n, { qos })))
        await waitFor(() => received.length === count, 'all of them')
        t.strictSame(received.splice(0).map(message => Number(message.text())), Array.from({ length: count }, (_, n) => n))
      }
      t.match(app.mqtt.status(), { outbox: { messages: 0, bytes: 0 }, counters: { published: 3 * count, refused: 0 } })
      t.comment(`${3 * count} publishes in order`)
    })
    t.end()
  })
}

t.test('what a hook sees', async t => {
  const { app } = await offline(t)
  app.decorate('who', 'root')
  const seen: unknown[] = []
  app.mqtt.addHook('onPublish', function (packet) {
    const { topic, payload, qos, retain, properties } = packet
    seen.push({ topic, payload, qos, retain, properties, who: (this as unknown as { who: string }).who })
  })
  const properties = { contentType: 'text', correlationData: Buffer.from('c'), userProperties: { a: ['1', '2'] } }
  await app.mqtt.publish('a', 'text')
  await app.mqtt.publish('$SYS/a', { json: 1 }, { absolute: true, qos: 2, retain: true, properties })
  await app.mqtt.publish('a', new Float32Array([1]).buffer)
  t.strictSame(seen, [
    { topic: 'plant/a', payload: Buffer.from('text'), qos: 0, retain: false, properties: {}, who: 'root' },
    { topic: '$SYS/a', payload: Buffer.from('{"json":1}'), qos: 2, retain: true, properties, who: 'root' },
    { topic: 'plant/a', payload: Buffer.from([0, 0, 128, 63]), qos: 0, retain: false, properties: {}, who: 'root' }
  ])
  app.mqtt.addHook('onPublish', ({ properties }) => {
    properties.userProperties!.a = 'changed'
    properties.correlationData![0] = 0
    properties.contentType = 'changed'
  })
  await app.mqtt.publish('a', '', { properties })
  t.strictSame(properties, { contentType: 'text', correlationData: Buffer.from('c'), userProperties: { a: ['1', '2'] } }, 'the caller\'s own is left alone')
})

t.test('encapsulation: of the scope that publishes, the outer ones first; a later hook holds, too', async t => {
  const { app } = await offline(t)
  const seen: string[] = []
  const note = (what: string) => function (this: FastifyInstance) { seen.push(`${what} ${(this as unknown as { label?: string }).label}`) }
  app.decorate('label', 'root')
  let child!: FastifyInstance
  let inner!: FastifyInstance
  await app.register(async instance => {
    child = instance
    instance.mqtt.addHook('onPublish', note('child'))
    await instance.register(async deeper => {
      inner = deeper
      Object.defineProperty(deeper, 'label', { value: 'inner' })
      deeper.mqtt.addHook('onPublish', note('inner'))
    })
  })
  await app.register(async sibling => { sibling.mqtt.addHook('onPublish', note('sibling')) })
  app.mqtt.addHook('onPublish', note('root'))
  await inner.mqtt.publish('a')
  t.strictSame(seen.splice(0), ['root inner', 'child inner', 'inner inner'], 'this is whose publish it is')
  await child.mqtt.publish('a')
  t.strictSame(seen.splice(0), ['root root', 'child root'])
  await app.mqtt.publish('a')
  t.strictSame(seen, ['root root'])
})

for (const how of ['sync', 'async'] as const) {
  /** Does it at once, or later. */
  const timed = (act: (packet: PublishPacket) => void) => how === 'sync' ? act : async (packet: PublishPacket) => { await turn(); act(packet) }

  t.test(`${how}: what a hook throws is what the publish rejects with`, async t => {
    const { app } = await offline(t)
    const thrown: unknown[] = [new Error('no'), Object.freeze(new Error('frozen')), 'text', undefined, null, Object.assign(new Error('own code'), { code: 'MINE' })]
    app.mqtt.addHook('onPublish', timed(packet => {
      if (packet.topic === 'plant/bad') throw thrown[Number(packet.payload)] as Error // eslint-disable-line no-throw-literal
    }))
    for (const [i, reason] of thrown.entries()) {
      const good = app.mqtt.publish('good', i)
      const error: unknown = await app.mqtt.publish('bad', i).then(() => t.fail('published'), caught => caught)
      if (reason === undefined || reason === null) t.match(error, { message: /thrown nothing/, maybeSent: false })
      else t.equal(error, reason)
      if (reason instanceof Error && !Object.isFrozen(reason)) t.equal((reason as MqttError).maybeSent, false)
      await good
    }
    t.match(app.mqtt.status(), { counters: { published: thrown.length, refused: thrown.length }, outbox: { messages: 0, bytes: 0 } })
    void app.mqtt.publish('bad', 0)
    await turns(3) // Nobody awaits that one: no unhandled rejection.
  })

  t.test(`${how}: what hooks make of it is checked`, async t => {
    const { app } = await offline(t)
    const bad: Array<[code: string, change: (packet: PublishPacket) => void]> = [
      ['FST_MQTT_TOPIC', packet => { packet.topic = 'plant/#' }],
      ['FST_MQTT_TOPIC', packet => { packet.topic = 42 as never }],
      ['FST_MQTT_TOPIC', packet => { packet.topic = '' }],
      ['FST_MQTT_PROPERTY', packet => { packet.qos = 3 as never }],
      ['FST_MQTT_PROPERTY', packet => { packet.retain = 'yes' as never }],
      ['FST_MQTT_PROPERTY', packet => { packet.properties = { messageExpiryInterval: -1 } }],
      ['FST_MQTT_PROPERTY', packet => { packet.properties = null as never }],
      ['FST_MQTT_PAYLOAD', packet => { packet.payload = () => {} }]
    ]
    app.mqtt.addHook('onPublish', timed(packet => { bad[Number(packet.payload)]?.[1](packet) }))
    for (const [i, [code]] of bad.entries()) t.equal(await outcome(app.mqtt.publish('a', i)), `${code} false`)
    t.equal(await outcome(app.mqtt.publish('a', 99)), 'published')
    t.match(app.mqtt.status().counters, { published: 1, refused: bad.length })
  })

  t.test(`${how}: the caller's bytes are the caller's again when publish returns`, async t => {
    const { app } = await offline(t)
    const scratch = Buffer.alloc(3)
    app.mqtt.addHook('onPublish', timed(packet => {
      if (packet.topic !== 'plant/scratch') return
      scratch.fill(packet.payload[0]!)
      packet.payload = scratch
    }))
    app.mqtt.addHook('onPublish', timed(() => {}))
    const published: string[] = []
    app.mqtt.addHook('onPublished', packet => { published.push(packet.payload.toString()) })
    app.mqtt.topic('go', () => {
      const bytes = Buffer.from('abc')
      const correlationData = Buffer.from('abc')
      void app.mqtt.publish('plain', bytes, { properties: { correlationData } })
      bytes.fill('z')
      correlationData.fill('z')
      void app.mqtt.publish('scratch', 'x')
      void app.mqtt.publish('scratch', 'y')
    })
    const result: InjectResult = await app.mqtt.inject({ topic: 'go' })
    t.strictSame(result.published.map(({ payload }) => payload.toString()), ['abc', 'xxx', 'yyy'])
    t.strictSame(result.published[0]!.properties, { correlationData: Buffer.from('abc') })
    await waitFor(() => published.length === 3, 'onPublished')
    t.strictSame(published, ['abc', 'xxx', 'yyy'])
  })

  t.test(`${how}: inject records what is sent, in order, the reply and the dead letter too`, async t => {
    const { app } = await offline(t)
    let n = 0
    app.mqtt.addHook('onPublish', async packet => {
      // The first takes longest.
      if (how === 'async') await turns(5 - n++)
      packet.payload = packet.payload.toString().toUpperCase()
    })
    await app.register(async child => {
      child.mqtt.addHook('onPublish', timed(packet => { packet.properties.contentType = 'of the scope' }))
      child.mqtt.topic('ask', async () => {
        void child.mqtt.publish('one', 'a')
        void app.mqtt.publish('two', 'b')
        return 'answer'
      })
      child.mqtt.topic('fail', { deadLetter: 'dead' }, () => { throw new Error('no') })
    })
    const { published, reply } = await app.mqtt.inject({ topic: 'ask', properties: { responseTopic: 'plant/answers' } })
    t.strictSame(published.map(({ topic, payload, properties }) => [topic, payload.toString(), properties.contentType]), [
      ['one', 'A', 'of the scope'], ['two', 'B', undefined]
    ])
    t.match(reply, { topic: 'answers', payload: Buffer.from('ANSWER'), properties: { contentType: 'of the scope' } })
    const { published: [dead] } = await app.mqtt.inject({ topic: 'fail', payload: 'letter' })
    t.match(dead, { topic: 'dead', payload: Buffer.from('LETTER'), properties: { contentType: 'of the scope' } })
  })
}

t.test('without a broker, too, what has no hooks waits for its turn', async t => {
  const { app } = await offline(t)
  await app.register(async child => {
    child.mqtt.addHook('onPublish', turn)
    child.mqtt.topic('go', () => {
      for (let n = 0; n < 6; n++) void (n % 3 === 0 ? child : app).mqtt.publish('n', n)
    })
  })
  const settled: unknown[] = []
  app.mqtt.addHook('onPublished', ({ payload }) => { settled.push(Number(payload)) })
  const { published } = await app.mqtt.inject({ topic: 'go' })
  t.strictSame(published.map(({ payload }) => Number(payload)), [0, 1, 2, 3, 4, 5])
  await waitFor(() => settled.length === 6, 'all of them')
  t.strictSame(settled, [0, 1, 2, 3, 4, 5])
})

t.test('with sync hooks a publish leaves in the same turn, and QoS 0 in one write', async t => {
  const { app } = await buildApp(t, { embedded: true })
  app.mqtt.addHook('onPublish', () => {})
  app.mqtt.topic('a', () => {})
  await connect(app)
  await waitFor(() => app.mqtt.status().outbox.messages === 0, 'an idle outbox')
  const first = app.mqtt.publish('a', 1)
  t.equal(app.mqtt.publish('a', 2), first, 'they settle together, as without hooks')
  t.equal(app.mqtt.status().outbox.messages, 2)
  await first
})

t.test('a hook that publishes', async t => {
  const publishers: Record<string, (app: FastifyInstance, child: FastifyInstance) => (packet: PublishPacket) => unknown> = {
    'sync, not awaited': (_, child) => packet => { void child.mqtt.publish('audit', packet.topic) },
    'async, awaited at once': (_, child) => async packet => { await child.mqtt.publish('audit', packet.topic, { qos: 1 }) },
    'async, awaited later': (_, child) => async packet => { await turn(); await child.mqtt.publish('audit', packet.topic, { qos: 1 }) },
    'a promise of a plain function': (_, child) => packet => turn().then(() => child.mqtt.publish('audit', packet.topic, { qos: 1 })),
    'by a scope without hooks': app => async packet => { await turn(); await app.mqtt.publish('audit', packet.topic, { qos: 2 }) }
  }
  for (const [name, publisher] of Object.entries(publishers)) {
    await t.test(name, async t => {
      const { app } = await buildApp(t, { embedded: true, publishTimeout: 0 })
      const seen: string[] = []
      app.mqtt.topic('#', { qos: 2 }, message => { seen.push(`${message.topic} ${message.text()}`) })
      let child!: FastifyInstance
      let others = 0
      await app.register(async instance => {
        child = instance
        child.mqtt.addHook('onPublish', publisher(app, child))
        child.mqtt.addHook('onPublish', async packet => { await turn(); if (packet.topic === 'audit') others++ })
      })
      await connect(app)
      await withinTime(Promise.all([1, 2, 3].map(n => child.mqtt.publish(`number/${n}`, n, { qos: 1 }))), 'publishes that wait for themselves')
      await waitFor(() => seen.length === 6, 'three, and three of the hook')
      t.strictSame(seen.filter(text => text.startsWith('number')), ['number/1 1', 'number/2 2', 'number/3 3'])
      t.strictSame(seen.filter(text => text.startsWith('audit')), ['audit number/1', 'audit number/2', 'audit number/3'])
      t.equal(others, name === 'by a scope without hooks' ? 0 : 3, 'it passes the other hooks')
      t.equal(app.mqtt.status().outbox.messages, 0)
    })
  }

  await t.test('a hook calls another, which publishes: each is passed once', async t => {
    const { app } = await offline(t, { publishTimeout: 0 })
    const seen: string[] = []
    for (const letter of ['a', 'b', 'c']) {
      app.mqtt.addHook('onPublish', async packet => {
        await turn()
        seen.push(`${letter}:${packet.topic}`)
        await app.mqtt.publish(letter)
      })
    }
    await withinTime(app.mqtt.publish('x'), 'a publish that waits for itself')
    // x through a, b, c; what each of them publishes through the two others; what those publish through the last.
    t.equal(seen.length, 3 + 3 * 2 + 3 * 2 * 1)
    t.equal(new Set(seen).size, 9)
  })

  await t.test('onPublished that publishes does not go round in circles', async t => {
    for (const wait of [false, true]) {
      const { app } = await offline(t)
      const seen: string[] = []
      app.mqtt.addHook('onPublished', packet => {
        seen.push(packet.topic)
        if (wait) return turn().then(() => app.mqtt.publish('audit'))
        void app.mqtt.publish('audit')
        return undefined
      })
      await app.mqtt.publish('a')
      await app.mqtt.publish('b')
      await waitFor(() => seen.length === 2 && app.mqtt.status().counters.published === 4, 'two, and two of the hook')
      await turns(5)
      t.strictSame(seen, ['plant/a', 'plant/b'])
      t.equal(app.mqtt.status().counters.published, 4)
    }
  })
})

t.test('a hook that hangs', async t => {
  const { app } = await buildApp(t, { embedded: true, publishTimeout: 0 })
  const received: string[] = []
  app.mqtt.topic('#', message => { received.push(message.topic) })
  let later = 0
  const { opened, open } = gate()
  app.mqtt.addHook('onPublish', packet => packet.topic.startsWith('hang') ? opened : undefined)
  app.mqtt.addHook('onPublish', () => { later++ })
  await connect(app)

  await t.test('holds up the others for as long as its own deadline', async t => {
    const hanging = outcome(app.mqtt.publish('hang/1', '', { timeout: 60 }))
    const behind = app.mqtt.publish('behind')
    t.match(app.mqtt.status().outbox, { messages: 2 })
    t.strictSame(received, [])
    t.equal(await hanging, 'FST_MQTT_TIMEOUT false')
    await withinTime(behind, 'the one behind')
  })

  await t.test('the one behind it has a deadline, too', async t => {
    const abort = new AbortController()
    const hanging = outcome(app.mqtt.publish('hang/2', '', { signal: abort.signal }))
    t.equal(await outcome(app.mqtt.publish('behind/it', '', { timeout: 60 })), 'FST_MQTT_TIMEOUT false')
    abort.abort()
    t.equal(await hanging, 'FST_MQTT_ABORTED false')
  })

  await t.test('a great many that are given up behind it', async t => {
    const abort = new AbortController()
    const hanging = outcome(app.mqtt.publish('hang/4', '', { signal: abort.signal }))
    const givenUp = new AbortController()
    setMaxListeners(0, givenUp.signal)
    const dead = Array.from({ length: 500 }, (_, n) => outcome(app.mqtt.publish(n % 2 === 0 ? 'dead' : 'hang/dead', '', { signal: givenUp.signal })))
    const alive = app.mqtt.publish('alive', '', { qos: 1 })
    givenUp.abort()
    t.strictSame(new Set(await Promise.all(dead)), new Set(['FST_MQTT_ABORTED false']))
    await turns(20)
    t.notOk(received.includes('alive'), 'the first still has its place')
    t.equal(app.mqtt.status().outbox.messages, 2)
    abort.abort()
    await hanging
    await withinTime(alive, 'the one behind all')
  })

  const before = later
  open()
  await turns(3)
  t.equal(later, before, 'what has been given up goes no further')
  t.ok(received.every(topic => !topic.startsWith('hang')), 'and is not sent')
  t.strictSame(app.mqtt.status().outbox, { messages: 0, bytes: 0, inflight: 0 })
})

t.test('close', async t => {
  for (const options of [{ embedded: true }, { connect: false }] as MqttPluginOptions[]) {
    await t.test(JSON.stringify(options), async t => {
      const { app } = await buildApp(t, { ...options, closeTimeout: 400 })
      const { opened, open } = gate()
      app.mqtt.addHook('onPublish', packet => packet.topic === 'hang' ? new Promise(() => {}) : opened)
      if (options.embedded === true) await connect(app)
      else await app.ready()
      const slow = outcome(app.mqtt.publish('slow', '', { qos: 1 }))
      const plain = outcome(app.mqtt.publish('slow', '', { qos: 0 }))
      const hanging = outcome(app.mqtt.publish('hang', '', { qos: 1 }))
      const behind = outcome(app.mqtt.publish('slow', '', { qos: 1 }))
      const start = performance.now()
      const closed = app.close()
      // Far beyond the few turns that closing takes where nothing is waited for.
      await turns(50)
      open()
      t.strictSame(await Promise.all([slow, plain]), ['published', 'published'], 'what ends in time is sent')
      await withinTime(closed, 'the close')
      t.strictSame(await Promise.all([hanging, behind]), ['FST_MQTT_CLOSED false', 'FST_MQTT_CLOSED false'])
      // Generous: closeTimeout is 400.
      t.ok(performance.now() - start < 4_000)
      t.equal(await outcome(app.mqtt.publish('late')), 'FST_MQTT_CLOSED false')
    })
  }
})

t.test('limits hold for what is in hooks', async t => {
  const { app } = await offline(t, { outbox: { maxMessages: 10, maxBytes: 10_000 } })
  const { opened, open } = gate()
  let calls = 0
  app.mqtt.addHook('onPublish', async packet => {
    calls++
    await opened
    if (packet.topic === 'plant/grows') packet.payload = Buffer.alloc(20_000)
  })
  const some = Array.from({ length: 10 }, (_, n) => outcome(app.mqtt.publish(n === 3 ? 'grows' : 'a', Buffer.alloc(500))))
  t.equal(await outcome(app.mqtt.publish('a')), 'FST_MQTT_OUTBOX_FULL false')
  t.equal(calls, 10, 'no hook is called for what is not taken')
  const { messages, bytes } = app.mqtt.status().outbox
  t.equal(messages, 10)
  t.ok(bytes >= 5_000 && bytes < 5_500, `${bytes} bytes`)
  open()
  t.strictSame(await Promise.all(some), some.map((_, n) => n === 3 ? 'FST_MQTT_OUTBOX_FULL false' : 'published'))
  t.match(app.mqtt.status(), { outbox: { messages: 0, bytes: 0 }, counters: { published: 9, refused: 2 } })
  const large = [outcome(app.mqtt.publish('a', Buffer.alloc(6_000))), outcome(app.mqtt.publish('a', Buffer.alloc(6_000)))]
  t.strictSame(await Promise.all(large), ['published', 'FST_MQTT_OUTBOX_FULL false'])
})

t.test('onPublished', async t => {
  await t.test('after success alone, behind whoever waits, and with what was sent', async t => {
    const { app, errors } = await offline(t)
    const seen: unknown[] = []
    app.mqtt.addHook('onPublish', packet => {
      if (packet.topic === 'plant/no') throw new Error('no')
      packet.payload = `${packet.payload.toString()}!`
    })
    app.mqtt.addHook('onPublished', () => { seen.push('first') })
    app.mqtt.addHook('onPublished', () => { throw new Error('watcher 1') })
    app.mqtt.addHook('onPublished', async () => { await turn(); throw new Error('watcher 2') })
    app.mqtt.addHook('onPublished', ({ topic, payload, qos }, result) => { seen.push([topic, payload.toString(), qos, result]) })
    await app.mqtt.publish('a', 'x', { qos: 1 }).then(() => { seen.push('caller') })
    t.equal(await outcome(app.mqtt.publish('no')), 'no false')
    await waitFor(() => seen.length === 3, 'the hooks')
    t.strictSame(seen, ['caller', 'first', ['plant/a', 'x!', 1, { reasonCode: 0 }]])
    t.strictSame(errors().map(({ line }) => /watcher \d/.exec(line)?.[0]), ['watcher 1', 'watcher 2'])
  })

  await t.test('what cannot be logged ends nothing', async t => {
    const { app, logger } = await offline(t)
    logger.error = () => { throw new Error('the log is full') }
    app.mqtt.addHook('onPublished', () => { throw new Error('watcher') })
    await app.mqtt.publish('a')
    await turns(3)
    t.equal(app.mqtt.status().counters.published, 1)
  })

  await t.test('each has its own result', { skip: mosquittoMissing() }, async t => {
    const broker = await startMosquitto(t)
    const { app } = await buildApp(t, { url: broker.url, protocolVersion: 5 })
    const seen: string[] = []
    app.mqtt.addHook('onPublished', ({ topic }, { reasonCode }) => { seen.push(`${topic} ${reasonCode}`) })
    app.mqtt.topic('somebody', () => {})
    await connect(app)
    await Promise.all([0, 1, 2].flatMap(qos => ['somebody', 'nobody'].map(topic => app.mqtt.publish(topic, '', { qos: qos as QoS }))))
    await waitFor(() => seen.length === 6, 'all hooks')
    // mosquitto says 16 of QoS 1 alone.
    t.strictSame(seen.sort(), ['nobody 0', 'nobody 0', 'nobody 16', 'somebody 0', 'somebody 0', 'somebody 0'])
  })
})

t.test('requests and answers pass hooks', { skip: mosquittoMissing() }, async t => {
  const broker = await startMosquitto(t)
  const { app } = await buildApp(t, { url: broker.url, protocolVersion: 5, prefix: 'plant' })
  let child!: FastifyInstance
  const seen: string[] = []
  await app.register(async instance => {
    child = instance
    child.mqtt.topic('echo', message => message.text())
    child.mqtt.addHook('onPublish', async packet => {
      await turn()
      seen.push(packet.topic)
      if (packet.payload.toString() === 'bad') throw new Error('not that')
      if (packet.payload.toString() === 'hang') await new Promise(() => {})
      packet.payload = `<${packet.payload.toString()}>`
    })
  })
  await connect(app)
  t.equal((await child.mqtt.request('echo', 'x')).text(), '<<x>>', 'both ways')
  t.equal((await app.mqtt.request('echo', 'x')).text(), '<x>', 'the answer alone')
  await t.rejects(child.mqtt.request('echo', 'bad'), { message: 'not that', maybeSent: false })
  const hanging = t.rejects(child.mqtt.request('echo', 'hang', { timeout: 60 }), { code: 'FST_MQTT_TIMEOUT' })
  const behind = child.mqtt.publish('behind', '', { qos: 1 })
  await hanging
  await withinTime(behind, 'the one behind it')
  t.equal(app.mqtt.status().outbox.messages, 0)
  t.equal(seen.filter(topic => topic === 'plant/echo').length, 3)
  t.equal(seen.filter(topic => topic.startsWith('plant/reply/')).length, 2)
})

t.test('on the wire the order is that of the calls, across QoS', async t => {
  const outbox = new Outbox({ maxMessages: 10_000, maxBytes: 1024 * 1024, inflight: 500 })
  const link = new LedgerLink(outbox)
  link.open(4)
  outbox.attach(link, info)
  t.teardown(() => outbox.close())
  const hooks = new Hooks()
  hooks.add('onPublish', packet => Number(packet.payload) % 3 === 0 ? undefined : turns(Number(packet.payload) * 7 % 4), undefined as never)
  const hooked = PublishHooks.of({ instance: undefined as never, hooks })
  const publisher = new Publisher(outbox, outbox.createSource('main'), {
    prefix: 'p', timeout: 0, version: () => 4, onUnsendable: () => {}, recorder: new Recorder()
  })
  const count = 500
  const all = Array.from({ length: count }, (_, n) => publisher.publish('a', n, { qos: [0, 1, 0, 0, 2][n % 5] as QoS }, n % 7 === 0 ? undefined : hooked))
  await withinTime(Promise.all(all), 'all of them')
  t.strictSame(link.received.map(({ payload }) => Number(payload)), Array.from({ length: count }, (_, n) => n))
  t.strictSame([outbox.messages, outbox.bytes, outbox.holding], [0, 0, 0])
})

t.test('a source whose first is in its hooks takes no turn from the others', async t => {
  const outbox = new Outbox({ maxMessages: 1_000, maxBytes: 1024 * 1024, inflight: 1 })
  const wire = new Wire()
  outbox.attach(wire, info)
  const [hooked, one, other] = ['hooked', 'one', 'other'].map(name => outbox.createSource(name))
  outbox.hold(hooked!, new Delivery({ buffer: Buffer.alloc(0), start: 0, end: 10 }, 4, 1, Infinity, () => {}))
  const settled: string[] = []
  for (let i = 0; i < 20; i++) {
    for (const source of [one!, other!]) outbox.add(source, delivery(1, Infinity, () => { settled.push(source.name) }))
  }
  await turn()
  for (let i = 0; i < 20; i++) {
    // Each answer makes room for one.
    const last = wire.packets.at(-1)!
    outbox.acknowledge(wire, 4, last.readUInt16BE(5), 0)
    await turn()
  }
  t.equal(settled.length, 20)
  t.equal(settled.filter(name => name === 'one').length, 10)
  outbox.close()
})
