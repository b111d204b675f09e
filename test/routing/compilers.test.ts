import t, { type Test } from 'tap'
import type { FastifyInstance } from 'fastify'
import { defineTopic } from '../../lib/index.ts'
import { buildApp } from '../support/app.ts'

/* Schemas: the instance's own compilers, and what they are told. */

async function build (t: Test): Promise<FastifyInstance> {
  const { app } = await buildApp(t, { connect: false })
  app.mqtt.setErrorHandler(() => {})
  return app
}
const properties = { responseTopic: 'me' }

t.test('replies and publishes are serialised by the serializer compiler of their scope', async t => {
  const app = await build(t)
  const told: unknown[] = []
  const schema = { reply: { title: 'reply' } }
  const reading = defineTopic('reading/<int:id>', { schema: { payload: { title: 'payload' } } })
  await app.register(async child => {
    child.setSerializerCompiler(({ schema, method, url, httpStatus }) => {
      told.push({ schema, method, url, httpStatus })
      return data => `<${JSON.stringify(data)}>`
    })
    child.mqtt.topic('own/<int:n>', { schema }, ({ params }) => ({ n: params.n, more: true }))
    child.mqtt.topic('go', async () => { await child.mqtt.publish(reading, { id: 1 }, { celsius: 5 } as never) })
  }, { mqttPrefix: 'child' })
  app.mqtt.topic('default/<int:n>', { schema: { reply: { type: 'object', properties: { n: { type: 'integer' } } } } }, ({ params }) => ({ n: params.n, more: true } as never))
  t.equal((await app.mqtt.inject({ topic: 'child/own/7', properties })).reply!.payload.toString(), '<{"n":7,"more":true}>')
  t.equal((await app.mqtt.inject({ topic: 'default/7', properties })).reply!.payload.toString(), '{"n":7}', 'the default one elsewhere')
  t.equal((await app.mqtt.inject({ topic: 'child/go' })).published[0]!.payload.toString(), '<{"celsius":5}>')
  t.strictSame(told, [
    { schema: { title: 'reply' }, method: 'MQTT', url: 'child/own/<int:n>', httpStatus: '200' },
    { schema: { title: 'payload' }, method: 'MQTT', url: 'reading/<int:id>', httpStatus: '200' }
  ])
})

t.test('what a validator compiler is told; json() and text() give what came', async t => {
  const app = await build(t)
  const told: unknown[] = []
  app.setValidatorCompiler(({ schema, method, url, httpPart }) => {
    told.push({ schema, method, url, httpPart })
    return body => ({ value: { seen: body } })
  })
  await app.register(async child => {
    child.mqtt.topic('a/<int:n>', { schema: { payload: { title: 'p' } } }, message => [message.body, message.json(), message.text()])
  }, { mqttPrefix: 'rooms/<int:room>' })
  t.strictSame((await app.mqtt.inject({ topic: 'rooms/1/a/2', payload: { x: 1 } })).results, [[{ seen: { x: 1 } }, { x: 1 }, '{"x":1}']])
  t.strictSame(told, [{ schema: { title: 'p' }, method: 'MQTT', url: 'rooms/<int:room>/a/<int:n>', httpPart: 'body' }])
})

t.test('what does not parse has Fastify\'s shape as well', async t => {
  const app = await build(t)
  app.mqtt.topic('a', { parse: 'json', schema: { payload: { type: 'object' } } }, () => {})
  const { error, reasonCode } = await app.mqtt.inject({ topic: 'a', payload: '{' })
  t.match(error, { code: 'FST_MQTT_INVALID_BODY', statusCode: 400, validationContext: 'body' })
  t.notOk('validation' in error!)
  t.equal(reasonCode, 0x99)
})

t.test('a body that is not valid is not tried again, with a schema as without', async t => {
  const app = await build(t)
  let checks = 0
  app.setValidatorCompiler(() => () => { checks++; return { error: new Error('no') } })
  app.mqtt.topic('a', { schema: { payload: {} }, retry: { attempts: 3, delay: 0 } }, () => { t.fail('called') })
  t.match(await app.mqtt.inject({ topic: 'a', qos: 1 }), { acked: true, reasonCode: 0x99 })
  t.equal(checks, 1)
})
