import type { FastifyInstance } from 'fastify'
import { expectTypeOf } from 'expect-type'
import t from 'tap'
import { defineTopic, topic, type Handler, type Message, type MultiMqtt, type PublishResult, type Route } from '../../lib/index.ts'

/* What tsc checks when this file is compiled; nothing of it runs. */

declare const app: FastifyInstance
const reading = defineTopic('reading/<str:device>/<any(temperature,humidity):kind>', { name: 'reading' })
const plain = defineTopic('plain')

export function routes (): void {
  expectTypeOf(app.mqtt).toExtend<MultiMqtt>()

  app.mqtt.topic('number/<int:n>/<name>', function (message) {
    expectTypeOf(this).toEqualTypeOf<FastifyInstance>()
    expectTypeOf(message.params.n).toEqualTypeOf<number>()
    expectTypeOf(message.params.name).toEqualTypeOf<string>()
    // @ts-expect-error there is no such placeholder
    void message.params.other
  })
  app.mqtt.topic('on/<any(on,off):state>', { qos: 1 }, message => {
    expectTypeOf(message.params.state).toEqualTypeOf<'on' | 'off'>()
  })
  const route = app.mqtt.topic(reading, message => {
    expectTypeOf(message.params.kind).toEqualTypeOf<'temperature' | 'humidity'>()
    expectTypeOf(message.params.device).toEqualTypeOf<string>()
  })
  expectTypeOf(route.topicFor({ device: 'a', kind: 'humidity' })).toEqualTypeOf<string>()
  // @ts-expect-error not one of the listed levels
  route.topicFor({ device: 'a', kind: 'pressure' })

  app.mqtt.route({ topic: 'f/<float:x>', qos: 2, handler: message => { expectTypeOf(message.params.x).toEqualTypeOf<number>() } })
  // @ts-expect-error qos is 0, 1 or 2
  app.mqtt.topic('a', { qos: 3 })
  // @ts-expect-error unknown option
  app.mqtt.topic('a', { qoss: 1 })

  const handler: Handler<'n/<int:n>'> = message => { expectTypeOf(message.params.n).toEqualTypeOf<number>() }
  app.mqtt.topic('n/<int:n>', handler)
  // @ts-expect-error the handler is for a parameter of another type
  app.mqtt.topic('n/<str:n>', handler)
  const dynamic: string = 'a/<int:b>'
  app.mqtt.topic(dynamic, message => { expectTypeOf(message.params.anything).toEqualTypeOf<unknown>() })
  expectTypeOf(app.mqtt.controller({})).toEqualTypeOf<Route[]>()
}

export function publishing (): void {
  expectTypeOf(app.mqtt.publish('a', { any: 'thing' }, { qos: 1 })).toEqualTypeOf<Promise<PublishResult>>()
  void app.mqtt.publish(reading, { device: 'a', kind: 'temperature' }, 21.5, { qos: 1 })
  void app.mqtt.publish(plain, 'payload', { retain: true })
  // @ts-expect-error the parameters are missing
  void app.mqtt.publish(reading)
  // @ts-expect-error a parameter of the wrong type
  void app.mqtt.publish(reading, { device: 1, kind: 'temperature' })
  // @ts-expect-error unknown option
  void app.mqtt.publish('a', '', { quality: 1 })
}

export class Decorated {
  @topic('number/<int:n>', { qos: 1 })
  async onNumber (message: Message<'number/<int:n>'>): Promise<void> {
    expectTypeOf(message.params.n).toEqualTypeOf<number>()
  }

  // @ts-expect-error n is a number, and the method says string
  @topic('number/<int:n>')
  wrong (message: { params: { n: string } }): void { void message }

  // @ts-expect-error the pattern has no such placeholder
  @topic('number/<int:n>')
  missing (message: Message<'number/<int:m>'>): void { void message }

  @topic(reading)
  onReading (message: Message<typeof reading>): void {
    expectTypeOf(message.params.kind).toEqualTypeOf<'temperature' | 'humidity'>()
  }

  // @ts-expect-error another definition's parameters
  @topic(reading)
  other (message: Message<'number/<int:n>'>): void { void message }

  @topic('plain')
  noParameter (): void {}
}

t.test('types compiled', async t => { t.pass() })
