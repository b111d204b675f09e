import Fastify, { type FastifyInstance } from 'fastify'
import t, { type Test } from 'tap'
import Type from 'typebox'
import multimqtt, { defineTopic, type RouteOptions } from '../../lib/index.ts'
import { buildApp } from '../support/app.ts'

/* Bodies and schemas. */

const Reading = Type.Object({ celsius: Type.Number({ minimum: -273.15 }), unit: Type.Optional(Type.String()) }, { additionalProperties: false })

async function build (t: Test): Promise<FastifyInstance> {
  const { app } = await buildApp(t, { connect: false })
  app.mqtt.setErrorHandler(() => {})
  return app
}

t.test('a body that fits reaches the handler, one that does not never does', async t => {
  const app = await build(t)
  const seen: unknown[] = []
  app.mqtt.topic('reading', { schema: { payload: Reading } }, ({ body }) => { seen.push(body.celsius) })
  t.match(await app.mqtt.inject({ topic: 'reading', payload: { celsius: 21.5 }, qos: 1 }), { error: undefined, reasonCode: 0 })
  for (const payload of [{ celsius: -300 }, {}, 'warm', '{', Buffer.from([0xff]), '', '[]', 'null']) {
    const { error, reasonCode, acked } = await app.mqtt.inject({ topic: 'reading', payload, qos: 1 })
    t.match(error, { code: 'FST_MQTT_INVALID_BODY', statusCode: 400, validationContext: 'body', validation: Array })
    t.match({ reasonCode, acked }, { reasonCode: 0x99, acked: true })
  }
  t.strictSame(seen, [21.5])
  const { error } = await app.mqtt.inject({ topic: 'reading', payload: { celsius: 'secret-payload' } })
  t.equal(error!.message, 'body/celsius must be number')
})

t.test('as Fastify\'s Ajv does: types are coerced, defaults set, what is too much removed', async t => {
  const app = await build(t)
  app.mqtt.topic('a', {
    schema: { payload: { type: 'object', properties: { n: { type: 'integer' }, unit: { type: 'string', default: 'C' } }, additionalProperties: false } }
  }, ({ body }) => body)
  t.strictSame((await app.mqtt.inject({ topic: 'a', payload: { n: '42', more: true } })).results, [{ n: 42, unit: 'C' }])
})

t.test('the Ajv options of the application, its shared schemas, and those of a scope', async t => {
  const app = Fastify({ ajv: { customOptions: { coerceTypes: false, allErrors: true } } })
  t.after(() => app.close())
  await app.register(multimqtt, { connect: false })
  app.mqtt.setErrorHandler(() => {})
  app.addSchema({ $id: 'celsius', type: 'number', minimum: -273.15 })
  await app.register(async child => {
    child.mqtt.topic('child', { schema: { payload: { type: 'object', required: ['a', 'b'], properties: { a: { $ref: 'celsius#' }, b: { $ref: 'own#' } } } } }, ({ body }) => body)
    // Behind the route, as Fastify allows.
    child.addSchema({ $id: 'own', type: 'string' })
  })
  app.get('/', { schema: { querystring: { type: 'object', properties: { t: { $ref: 'celsius#' } } } } }, async () => 'http')
  t.match(await app.mqtt.inject({ topic: 'child', payload: { a: 1, b: 'x' } }), { results: [{ a: 1, b: 'x' }] })
  const { error } = await app.mqtt.inject({ topic: 'child', payload: { a: '1', b: 2 } })
  t.equal((error as unknown as { validation: unknown[] }).validation.length, 2, 'all errors, and nothing coerced')
  t.equal((await app.inject('/?t=1')).statusCode, 400, 'and HTTP as before')
})

t.test('a compiler of the application\'s own, in a scope of its own', async t => {
  const app = await build(t)
  app.mqtt.topic('ajv', { schema: { payload: { type: 'integer' } } }, ({ body }) => body)
  await app.register(async child => {
    type Own = { parse: (body: unknown) => unknown }
    child.setValidatorCompiler<Own>(({ schema }) => body => {
      try { return { value: schema.parse(body) } } catch (error) { return { error: error as Error } }
    })
    child.mqtt.topic('own', { schema: { payload: { parse: (body: unknown) => { if (body === 'bad') throw new Error('not good'); return { wrapped: body } } } } }, ({ body }) => body)
  })
  t.match(await app.mqtt.inject({ topic: 'own', payload: 'x' }), { results: [{ wrapped: 'x' }] })
  t.match(await app.mqtt.inject({ topic: 'own', payload: 'bad', qos: 1 }), { error: { code: 'FST_MQTT_INVALID_BODY', message: 'not good', validationContext: 'body' }, reasonCode: 0x99 })
  t.match(await app.mqtt.inject({ topic: 'ajv', payload: '12' }), { results: [12] })
})

t.test('an asynchronous compiler, and one that throws', async t => {
  const app = await build(t)
  const check = async (schema: unknown, body: unknown): Promise<object> => {
    await new Promise(resolve => { setImmediate(resolve) })
    if (body === 'throw') throw new Error('broken')
    return body === schema ? { value: 'checked' } : { error: new Error('no') }
  }
  app.setValidatorCompiler(({ schema }) => (body: unknown) => check(schema, body) as never)
  app.mqtt.topic('a', { schema: { payload: 'yes' } }, ({ body }) => body)
  t.match(await app.mqtt.inject({ topic: 'a', payload: 'yes' }), { results: ['checked'] })
  t.match(await app.mqtt.inject({ topic: 'a', payload: 'other' }), { reasonCode: 0x99 })
  t.match(await app.mqtt.inject({ topic: 'a', payload: 'throw' }), { error: { message: 'broken' }, reasonCode: 0x83 })
})

t.test('a schema that does not compile fails ready, and later the route', async t => {
  const { app } = await buildApp(t, { connect: false })
  app.mqtt.topic('a', { schema: { payload: { type: 'nonsense' } } })
  await t.rejects(Promise.resolve(app.ready()), { code: 'FST_MQTT_OPTIONS', message: /payload schema of "a"/ })

  const later = await build(t)
  await later.ready()
  t.throws(() => later.mqtt.topic('b', { schema: { payload: { $ref: 'nowhere#' } } }), { code: 'FST_MQTT_OPTIONS' })
  t.strictSame(later.mqtt.subscriptions, [], 'and nothing is left of it')
  later.mqtt.topic('c', { schema: { payload: { type: 'integer' } } }, ({ body }) => body)
  t.match(await later.mqtt.inject({ topic: 'c', payload: '1' }), { results: [1] })
  for (const schema of ['x', null, { body: {} }, []] as never[]) t.throws(() => later.mqtt.topic('d', { schema }), { code: 'FST_MQTT_OPTIONS' })
})

t.test('what is returned is serialised by the schema of the reply', async t => {
  const app = await build(t)
  const schema = { reply: Type.Object({ sum: Type.Integer() }) }
  app.mqtt.topic('sum', { schema }, () => ({ sum: 5, secret: 'not in the schema' }))
  app.mqtt.topic('bytes', { schema }, () => Buffer.from('as it is'))
  app.mqtt.topic('nothing', { schema }, () => {})
  app.mqtt.topic('wrong', { schema }, () => ({ sum: 'x' as unknown as number }))
  const properties = { responseTopic: 'me' }
  t.equal((await app.mqtt.inject({ topic: 'sum', properties })).reply!.payload.toString(), '{"sum":5}')
  t.match((await app.mqtt.inject({ topic: 'sum' })).results, [{ sum: 5, secret: String }], 'only what leaves is')
  t.equal((await app.mqtt.inject({ topic: 'bytes', properties })).reply!.payload.toString(), 'as it is')
  t.equal((await app.mqtt.inject({ topic: 'nothing', properties })).reply!.payload.length, 0)
  const { reply, error, reasonCode } = await app.mqtt.inject({ topic: 'wrong', properties })
  t.match(error, Error)
  t.equal(reasonCode, 0x83)
  t.ok(reply!.properties.userProperties!['error-code'])
})

t.test('the schemas of a definition, and those of the route in their place', async t => {
  const app = await build(t)
  const reading = defineTopic('reading/<int:id>', { schema: { payload: Reading } })
  app.mqtt.topic(reading, ({ body, params }) => body.celsius + params.id)
  app.mqtt.topic(reading, { schema: { payload: Type.Object({ kelvin: Type.Number() }) } }, ({ body }) => body.kelvin)
  t.match((await app.mqtt.inject({ topic: 'reading/1', payload: { celsius: 1 } })).results, [2, undefined])
  t.match((await app.mqtt.inject({ topic: 'reading/1', payload: { kelvin: 1 } })).results, [undefined, 1])
})

t.test('a retained message that is cleared, where the schema allows for that', async t => {
  const app = await build(t)
  app.mqtt.topic('kept', { schema: { payload: Type.Union([Reading, Type.Literal('')]) } }, ({ body }) => body === '' ? 'gone' : body.celsius)
  t.match((await app.mqtt.inject({ topic: 'kept', payload: '', retain: true })).results, ['gone'])
  t.match((await app.mqtt.inject({ topic: 'kept', payload: { celsius: 1 } })).results, [1])
  t.match(await app.mqtt.inject({ topic: 'kept', payload: '[]' }), { reasonCode: 0x99 })
})

t.test('parse', async t => {
  const app = await build(t)
  const bytes = Buffer.from('{"a":1}')
  const cases: Array<[RouteOptions['parse'], unknown]> = [['auto', { a: 1 }], [undefined, { a: 1 }], ['json', { a: 1 }], ['text', '{"a":1}'], ['buffer', bytes]]
  for (const [parse, expected] of cases) {
    const route = app.mqtt.topic('p', { parse }, ({ body }) => body)
    t.strictSame((await app.mqtt.inject({ topic: 'p', payload: bytes })).results, [expected])
    await route.remove()
  }
  const lenient = app.mqtt.topic('p', ({ body }) => body)
  for (const [payload, expected] of [['', ''], ['nope', 'nope'], ['{"__proto__":{"x":1}}', '{"__proto__":{"x":1}}'], [Buffer.from([0xff]), Buffer.from([0xff])], ['42', 42], ['null', null]]) {
    t.strictSame((await app.mqtt.inject({ topic: 'p', payload })).results, [expected])
  }
  await lenient.remove()
  app.mqtt.topic('p', { parse: 'json' }, ({ body }) => body)
  for (const payload of ['', 'nope', '{"__proto__":{"x":1}}', '{"constructor":{"prototype":{}}}', Buffer.from([0xff])]) {
    t.match(await app.mqtt.inject({ topic: 'p', payload }), { error: { code: 'FST_MQTT_INVALID_BODY' }, reasonCode: 0x99 })
  }
})

t.test('JSON is read once, and up to bodyLimit', async t => {
  const app = Fastify({ bodyLimit: 20 })
  t.after(() => app.close())
  await app.register(multimqtt, { connect: false })
  app.mqtt.setErrorHandler(() => {})
  app.mqtt.topic('a', message => { t.equal(message.json(), message.body); t.equal(message.body, message.body); return message.body })
  t.match(await app.mqtt.inject({ topic: 'a', payload: { n: 1 } }), { results: [{ n: 1 }], error: undefined })
  app.mqtt.topic('long', message => typeof message.body === 'string' && message.json())
  t.match(await app.mqtt.inject({ topic: 'long', payload: { text: 'x'.repeat(20) } }), { error: { code: 'FST_MQTT_INVALID_BODY', message: /31 bytes.*20/ }, reasonCode: 0x99 })
})

t.test('what is published to a definition is serialised by its schema', async t => {
  const app = await build(t)
  const reading = defineTopic('reading/<int:id>', { schema: { payload: Type.Object({ celsius: Type.Number() }) } })
  app.mqtt.topic('go', async () => {
    await app.mqtt.publish(reading, { id: 1 }, { celsius: 5, secret: 'not in the schema' } as { celsius: number })
    await app.mqtt.publish(reading, { id: 2 }, Buffer.from('as it is'))
  })
  const { published } = await app.mqtt.inject({ topic: 'go' })
  t.strictSame(published.map(({ payload }) => payload.toString()), ['{"celsius":5}', 'as it is'])
  const wrong = app.mqtt.publish(reading, { id: 1 }, { celsius: 'warm secret' as unknown as number })
  await t.rejects(wrong, { code: 'FST_MQTT_PAYLOAD', message: 'It does not fit the payload schema of "reading/<int:id>"', maybeSent: false })
})

t.test('without a broker the application\'s own routes answer requests; the answer is checked', async t => {
  const app = await build(t)
  const sum = defineTopic('sum/<int:a>/<int:b>', { schema: { reply: Type.Object({ sum: Type.Integer() }) } })
  const answers: unknown[] = [{ sum: 5 }, { sum: 'five' }, Buffer.from('{"sum":"x"}'), undefined]
  app.mqtt.topic('sum/<int:a>/<int:b>', ({ params }) => answers[params.a])
  app.mqtt.topic('sum/9/9', () => { throw Object.assign(new Error('no'), { code: 'E_NO' }) })
  await app.ready()
  const { body } = await app.mqtt.request(sum, { a: 0, b: 0 })
  t.equal(body.sum, 5)
  for (const a of [1, 2, 3]) await t.rejects(app.mqtt.request(sum, { a, b: 0 }), { code: 'FST_MQTT_INVALID_BODY', statusCode: 502, validationContext: 'body' }, `${a}`)
  await t.rejects(app.mqtt.request('sum/9/9'), { code: 'FST_MQTT_REPLY_ERROR', remote: { code: 'E_NO', message: 'no' } })
  await t.rejects(app.mqtt.request('nobody', '', { timeout: 20 }), { code: 'FST_MQTT_TIMEOUT', maybeSent: true })
  const odd = await app.mqtt.request('sum/3/0')
  t.throws(() => odd.json(), { code: 'FST_MQTT_INVALID_BODY', statusCode: 502 })
})

t.test('a value that is the whole body is coerced as a property is', async t => {
  const app = await build(t)
  const cases: Array<[schema: object, payload: string, body: unknown]> = [
    [{ type: 'string' }, '123', '123'], [{ type: 'string' }, 'true', 'true'], [{ type: 'number' }, '"21"', 21], [{ type: 'boolean' }, '"true"', true],
    [{ type: 'array', items: { type: 'number' } }, '5', [5]], [{ type: 'number' }, '21.5', 21.5]
  ]
  for (const [i, [payload, sent, body]] of cases.entries()) {
    app.mqtt.topic(`s/${i}`, { schema: { payload } }, message => message.body)
    t.strictSame((await app.mqtt.inject({ topic: `s/${i}`, payload: sent })).results, [body], `${JSON.stringify(payload)} ${sent}`)
  }
})

t.test('an error of validation carries no value, whatever Ajv is told', async t => {
  const app = Fastify({ ajv: { customOptions: { verbose: true } } })
  t.after(() => app.close())
  await app.register(multimqtt, { connect: false })
  app.mqtt.setErrorHandler(() => {})
  app.mqtt.topic('a', { schema: { payload: { type: 'object', properties: { n: { type: 'integer' } } } } })
  const { error } = await app.mqtt.inject({ topic: 'a', payload: { n: 'top secret' } })
  t.notMatch(JSON.stringify(error), /top secret/)
})

t.test('a schema of a route that was refused or taken back is nobody\'s concern', async t => {
  const app = await build(t)
  const bad = { payload: { type: 'nonsense' } }
  app.mqtt.topic('a', { name: 'x' }, () => 'still there')
  t.throws(() => app.mqtt.topic('b', { name: 'x', schema: bad }, () => {}), { code: 'FST_MQTT_ROUTE_DUPLICATE' })
  await app.mqtt.topic('c', { schema: bad }, () => {}).remove()
  t.match(await app.mqtt.inject({ topic: 'a' }), { results: ['still there'] })
})

t.test('a reply that does not fit is not tried again, and is no result', async t => {
  const app = await build(t)
  let calls = 0
  app.mqtt.topic('a', { schema: { reply: { type: 'object', required: ['n'], properties: { n: { type: 'integer' } } } }, retry: { attempts: 3, delay: 0 } }, () => { calls++; return {} as { n: number } })
  const { results, error } = await app.mqtt.inject({ topic: 'a', properties: { responseTopic: 'me' } })
  t.strictSame(results, [undefined])
  t.match(error, { code: 'FST_MQTT_PAYLOAD' })
  t.equal(calls, 1)
})

t.test('a definition whose reply schema does not compile sends nothing', async t => {
  const app = await build(t)
  let calls = 0
  app.mqtt.topic('a', () => { calls++ })
  await app.ready()
  await t.rejects(app.mqtt.request(defineTopic('a', { schema: { reply: { type: 'nonsense' } } })), { code: 'FST_MQTT_OPTIONS', maybeSent: false })
  t.equal(calls, 0)
})

t.test('before ready nothing is kept that a compiler set later would make otherwise', async t => {
  const app = await build(t)
  const reading = defineTopic('reading', { schema: { payload: { $ref: 'later#' } } })
  await t.rejects(app.mqtt.publish(reading, { n: 1 }), { code: 'FST_MQTT_OPTIONS' })
  app.addSchema({ $id: 'later', type: 'object', properties: { n: { type: 'integer' } } })
  t.match(await app.mqtt.publish(reading, { n: 1 }), { reasonCode: 0 })
})
