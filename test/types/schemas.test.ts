import type { FastifyInstance } from 'fastify'
import { expectTypeOf } from 'expect-type'
import t from 'tap'
import Type from 'typebox'
import {
  defineTopic, poolHandler, topic, type BodyOf, type Handler, type Message, type PoolLike, type PublishResult, type Route, type TypeOf
} from '../../lib/index.ts'
import type { WorkerMqtt } from '../../workers/index.ts'

/* Bodies and replies get their types from schemas. What tsc checks when this file is compiled; nothing of it runs. */

declare const app: FastifyInstance
declare const worker: WorkerMqtt
declare const pool: PoolLike

const Reading = Type.Object({ celsius: Type.Number(), unit: Type.Optional(Type.String()) })
interface Read { celsius: number, unit?: string }
const Sum = Type.Object({ sum: Type.Integer() })
const lamp = {
  type: 'object',
  required: ['on'],
  properties: { on: { type: 'boolean' }, colour: { enum: ['white', 'red'] }, log: { type: 'array', items: { type: 'string' } } }
} as const
/** As the types of @sinclair/typebox are. */
declare const sinclair: { readonly static: { n: number }, readonly params: unknown[], type: 'object' }
/** As those of zod, valibot and arktype are. */
declare const standard: {
  readonly '~standard': { readonly version: 1, readonly vendor: string, readonly validate: (value: unknown) => unknown, readonly types?: { readonly input: string, readonly output: Date } | undefined }
}

const reading = defineTopic('reading/<int:id>', { name: 'reading', schema: { payload: Reading } })
const add = defineTopic('add', { schema: { payload: Type.Array(Type.Number()), reply: Sum } })
const ask = defineTopic('ask/<int:id>', { schema: { reply: Sum } })
const bare = defineTopic('bare/<int:id>')

export function bodies (): void {
  app.mqtt.topic('a', { schema: { payload: Reading } }, ({ body }) => { expectTypeOf(body).toEqualTypeOf<Read>() })
  app.mqtt.topic('a/<int:n>', { qos: 1, schema: { payload: lamp } }, ({ body, params }) => {
    expectTypeOf(body.on).toEqualTypeOf<boolean>()
    expectTypeOf(body.colour).toEqualTypeOf<'white' | 'red' | undefined>()
    expectTypeOf(body.log).toEqualTypeOf<string[] | undefined>()
    expectTypeOf(params.n).toEqualTypeOf<number>()
  })
  app.mqtt.topic('a', { schema: { payload: sinclair } }, ({ body }) => { expectTypeOf(body).toEqualTypeOf<{ n: number }>() })
  app.mqtt.topic('a', { schema: { payload: standard } }, ({ body }) => { expectTypeOf(body).toEqualTypeOf<Date>() })
  app.mqtt.topic('a', { schema: { payload: Type.Unsafe<Date>({ type: 'string' }) } }, ({ body }) => { expectTypeOf(body).toEqualTypeOf<Date>() })
  app.mqtt.route({
    topic: 'a/<int:n>',
    schema: { payload: Reading },
    handler: ({ body, params }) => {
      expectTypeOf(body).toEqualTypeOf<Read>()
      expectTypeOf(params).toEqualTypeOf<{ readonly n: number }>()
    }
  })
  const dynamic: string = 'a'
  app.mqtt.topic(dynamic, { schema: { payload: Reading } }, ({ body }) => { expectTypeOf(body).toEqualTypeOf<Read>() })
  const route = app.mqtt.topic('a', { schema: { payload: Reading } })
  expectTypeOf(route).toExtend<Route>()
  route.onMessage(({ body }) => { expectTypeOf(body).toEqualTypeOf<Read>() })
}

export function unknownBodies (): void {
  app.mqtt.topic('a', ({ body }) => { expectTypeOf(body).toBeUnknown() })
  app.mqtt.topic('a', { qos: 1 }, ({ body }) => { expectTypeOf(body).toBeUnknown() })
  app.mqtt.topic('a', { schema: { reply: Sum } }, ({ body }) => { expectTypeOf(body).toBeUnknown() })
  app.mqtt.topic('a', { schema: { payload: { $ref: 'shared#' } } }, ({ body }) => { expectTypeOf(body).toBeUnknown() })
  app.mqtt.topic('a', { schema: { payload: { parse: (value: unknown) => value } } }, ({ body }) => { expectTypeOf(body).toBeUnknown() })
  expectTypeOf<BodyOf<undefined>>().toBeUnknown()
  expectTypeOf<TypeOf<string>>().toBeUnknown()
  // @ts-expect-error a body is payload here, as on the wire
  app.mqtt.topic('a', { schema: { body: Reading } })
  // @ts-expect-error there is no schema, so the body may be anything
  app.mqtt.topic('a', ({ body }) => body.celsius)
}

export function definitions (): void {
  app.mqtt.topic(reading, ({ body, params }) => {
    expectTypeOf(body).toEqualTypeOf<Read>()
    expectTypeOf(params.id).toEqualTypeOf<number>()
  })
  app.mqtt.topic(reading, { qos: 1 }, ({ body }) => { expectTypeOf(body).toEqualTypeOf<Read>() })
  app.mqtt.topic(reading, { schema: { payload: lamp } }, ({ body }) => { expectTypeOf(body.on).toEqualTypeOf<boolean>() })
  app.mqtt.route({ topic: reading, handler: ({ body }) => { expectTypeOf(body).toEqualTypeOf<Read>() } })
  app.mqtt.topic(bare, ({ body }) => { expectTypeOf(body).toBeUnknown() })
  app.mqtt.topic(bare, { qos: 1 }, ({ body, params }) => {
    expectTypeOf(body).toBeUnknown()
    expectTypeOf(params.id).toEqualTypeOf<number>()
  })
  app.mqtt.topic(bare, { schema: { payload: Reading } }, ({ body }) => { expectTypeOf(body).toEqualTypeOf<Read>() })
  app.mqtt.route({ topic: bare, qos: 1, handler: ({ body }) => { expectTypeOf(body).toBeUnknown() } })
  expectTypeOf<Message<typeof reading>['body']>().toEqualTypeOf<Read>()
  expectTypeOf<Message<typeof bare>['body']>().toBeUnknown()
}

export function publishing (): void {
  expectTypeOf(app.mqtt.publish(reading, { id: 1 }, { celsius: 1 })).toEqualTypeOf<Promise<PublishResult>>()
  void app.mqtt.publish(reading, { id: 1 }, Buffer.from('{"celsius":1}'))
  void app.mqtt.publish(bare, { id: 1 }, 'anything')
  void worker.publish(reading, { id: 1 }, { celsius: 1, unit: 'C' }, { qos: 1 })
  // @ts-expect-error not what the schema says
  void app.mqtt.publish(reading, { id: 1 }, { kelvin: 1 })
  // @ts-expect-error in a worker neither
  void worker.publish(reading, { id: 1 }, 21.5)
}

export async function requests (): Promise<void> {
  expectTypeOf((await app.mqtt.request(add, [1, 2])).body).toEqualTypeOf<{ sum: number }>()
  expectTypeOf((await app.mqtt.request(ask, { id: 1 })).body).toEqualTypeOf<{ sum: number }>()
  expectTypeOf((await app.mqtt.request(reading, { id: 1 }, { celsius: 1 })).body).toBeUnknown()
  expectTypeOf((await app.mqtt.request('a')).body).toBeUnknown()
  expectTypeOf(app.mqtt.request('a')).toEqualTypeOf<Promise<Message>>()
  const answer = await worker.request(ask, { id: 1 })
  expectTypeOf(answer.body).toEqualTypeOf<{ sum: number }>()
  // @ts-expect-error an answer that has crossed to another thread has no logger
  void answer.log
  // @ts-expect-error not what the schema says
  void app.mqtt.request(add, ['1'])
}

export function replies (): void {
  app.mqtt.topic(add, ({ body }) => ({ sum: body.length }))
  app.mqtt.topic(add, async () => ({ sum: 1 }))
  app.mqtt.topic(add, () => Buffer.from('{"sum":1}'))
  app.mqtt.topic(add, () => {})
  app.mqtt.topic('a', { schema: { reply: Sum } }, () => ({ sum: 1 }))
  // Whatever a task returns comes from another thread: nobody can know its type here.
  app.mqtt.topic(add, poolHandler(pool))
  // @ts-expect-error not what the schema of the reply says
  app.mqtt.topic(add, () => ({ total: 1 }))
  // @ts-expect-error neither is what this promises
  app.mqtt.topic('a', { schema: { reply: Sum } }, async () => 'one')
}

export function messages (read: Message<'a', { payload: typeof Reading }>, plain: Message<'a'>, handler: Handler<'a', { payload: typeof Reading }>): void {
  const general = (message: Message): void => { void message }
  general(read)
  app.mqtt.topic('a', { schema: { payload: Reading } }, general)
  app.mqtt.topic('a', { schema: { payload: Reading } }, poolHandler(pool))
  app.mqtt.topic('a', { schema: { payload: Reading } }, handler)
  app.mqtt.topic(reading, (message: Message<typeof reading>) => { void message })
  expectTypeOf(read).toExtend<Message<'a'>>()

  // What nothing has checked is not of a schema's type.
  // @ts-expect-error its body is unknown
  const unchecked: Message<'a', { payload: typeof Reading }> = plain
  void unchecked
  // @ts-expect-error a route without a schema
  app.mqtt.topic('a', handler)
  // @ts-expect-error another way to have none
  app.mqtt.topic('a', { qos: 1 }, handler)
  // @ts-expect-error another schema
  app.mqtt.topic('a', { schema: { payload: lamp } }, handler)
  // @ts-expect-error written out in the parameter, and nobody has checked it
  app.mqtt.topic('a', (message: Message<'a', { payload: typeof Reading }>) => { void message })
}

export class Decorated {
  @topic('reading/<int:id>', { qos: 1, schema: { payload: Reading } })
  typed ({ body, params }: Message<'reading/<int:id>', { payload: typeof Reading }>): void {
    expectTypeOf(body).toEqualTypeOf<Read>()
    expectTypeOf(params.id).toEqualTypeOf<number>()
  }

  @topic('reading/<int:id>', { schema: { payload: Reading } })
  notInterested ({ body }: Message<'reading/<int:id>'>): void { expectTypeOf(body).toBeUnknown() }

  @topic(reading)
  defined ({ body }: Message<typeof reading>): void { expectTypeOf(body).toEqualTypeOf<Read>() }

  @topic(reading, { qos: 1 })
  definedWithOptions ({ body }: Message<typeof reading>): void { expectTypeOf(body).toEqualTypeOf<Read>() }

  @topic(bare, { qos: 1 })
  withoutSchema ({ body }: Message<typeof bare>): void { expectTypeOf(body).toBeUnknown() }

  // @ts-expect-error another schema than the one that the body is checked by
  @topic('reading/<int:id>', { schema: { payload: lamp } })
  other (message: Message<'reading/<int:id>', { payload: typeof Reading }>): void { void message }

  // @ts-expect-error nothing checks it
  @topic('reading/<int:id>')
  unchecked (message: Message<'reading/<int:id>', { payload: typeof Reading }>): void { void message }
}

t.test('types compiled', async t => { t.pass() })
