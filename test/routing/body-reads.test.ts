import Fastify, { type FastifyInstance } from 'fastify'
import t, { type Test } from 'tap'
import multimqtt, { type Message } from '../../lib/index.ts'
import { liveApp } from '../faults/scripted-app.ts'
import { buildApp } from '../support/app.ts'
import { waitFor } from '../support/events.ts'

/* The message: what is made when, how often, and how long it holds. */

/** An application that counts what its JSON parser is asked for. */
async function counting (t: Test): Promise<{ app: FastifyInstance, read: () => number }> {
  const app = Fastify()
  t.after(() => app.close())
  const parser = app.getDefaultJsonParser('error', 'error')
  let count = 0
  app.getDefaultJsonParser = () => (request, text, done) => { count++; return parser(request, text, done) }
  await app.register(multimqtt, { connect: false })
  app.mqtt.setErrorHandler(() => {})
  return { app, read: () => { const read = count; count = 0; return read } }
}

t.test('JSON is parsed when it is asked for, and once', async t => {
  const { app, read } = await counting(t)
  let look: (message: Message) => unknown = () => {}
  app.mqtt.topic('a', message => look(message))
  const readsOf = async (payload: string, handler: typeof look): Promise<number> => {
    look = handler
    await app.mqtt.inject({ topic: 'a', payload })
    return read()
  }
  t.equal(await readsOf('{"a":1}', () => {}), 0, 'nobody has asked')
  t.equal(await readsOf('{"a":1}', message => [message.text(), message.payload.length, message.params, message.properties]), 0, 'for JSON')
  t.equal(await readsOf('{"a":1}', message => [message.body, message.body, message.json(), message.body]), 1)
  t.equal(await readsOf('{"a":1}', message => [message.json(), message.body]), 1)
  t.equal(await readsOf('hello', message => message.body), 0, 'text is seen to be none')
  t.equal(await readsOf('{"almost": ', message => [message.body, message.body, message.body]), 1, 'what is none is tried once, too')
  app.mqtt.topic('b', { schema: { payload: { type: 'object' } } }, message => [message.body, message.json()])
  await app.mqtt.inject({ topic: 'b', payload: { a: 1 } })
  t.equal(read(), 1, 'and with a schema')
})

t.test('params and wildcards are frozen, params without a prototype', async t => {
  const { app } = await buildApp(t, { connect: false })
  app.mqtt.topic('a/<int:n>/+/#', ({ params, wildcards }) => {
    t.strictSame([Object.getPrototypeOf(params), Object.isFrozen(params), { ...params }], [null, true, { n: 7 }])
    t.strictSame(wildcards, ['x', 'y/z'])
    t.ok(Object.isFrozen(wildcards))
  })
  app.mqtt.topic('plain', ({ params, wildcards }) => {
    t.strictSame([Object.getPrototypeOf(params), Object.isFrozen(params), Object.keys(params), wildcards], [null, true, [], []])
  })
  for (const topic of ['a/7/x/y/z', 'plain']) t.match(await app.mqtt.inject({ topic }), { error: undefined, results: [undefined] })
})

t.test('a payload holds for as long as it is kept, whatever comes behind it; dup and retain as received', async t => {
  const kept: Message[] = []
  const { broker } = await liveApp(t, {}, {}, app => { app.mqtt.topic('a/<int:n>', { qos: 1, retainAsPublished: true }, message => { kept.push(message) }) })
  const { subscriptionIdentifier } = broker.last.of('subscribe')[0]!.properties!
  const count = 200
  for (let n = 1; n <= count; n++) {
    broker.last.deliver({ topic: `a/${n}`, qos: 1, messageId: n, dup: n % 2 === 0, retain: n % 3 === 0, payload: Buffer.alloc(n % 5 === 0 ? 20_000 : 20, n), properties: { subscriptionIdentifier: subscriptionIdentifier as never } })
  }
  await waitFor(() => kept.length === count, 'all of them')
  for (const [i, { payload, dup, retain, params }] of kept.entries()) {
    const n = i + 1
    if (!payload.equals(Buffer.alloc(n % 5 === 0 ? 20_000 : 20, n)) || dup !== (n % 2 === 0) || retain !== (n % 3 === 0) || (params as { n: number }).n !== n) t.fail(`message ${n}`)
  }
  t.equal(kept.length, count)
})

t.test('log: by the pattern where the route has no name; of the scope\'s own logger; once', async t => {
  const { app, logger } = await buildApp(t, { connect: false, prefix: 'plant' })
  const children: unknown[] = []
  logger.child = ((bindings: unknown) => { children.push(bindings); return logger }) as typeof logger.child
  app.mqtt.topic('log/<int:n>', message => { t.equal(message.log, message.log) })
  app.mqtt.topic('silent', () => {})
  await app.mqtt.inject({ topic: 'log/1', payload: 'top secret' })
  await app.mqtt.inject({ topic: 'silent' })
  t.strictSame(children, [{ route: 'log/<int:n>', topic: 'log/1' }], 'and none where nobody logs')
})
