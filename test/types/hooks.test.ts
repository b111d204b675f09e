import type { FastifyInstance } from 'fastify'
import { expectTypeOf } from 'expect-type'
import t from 'tap'
import type {
  ConnectionInfo, ErrorHandler, Granted, InjectMessage, InjectResult, Message, MqttHooks, PreHandlerHook, PublishedMessage, PublishPacket, PublishProperties,
  PublishResult, QoS, RetryOptions, Route
} from '../../lib/index.ts'

/* Hooks, what becomes of failures, and inject. What tsc checks when this file is compiled; nothing of it runs. */

declare const app: FastifyInstance

export function hooks (): void {
  expectTypeOf<keyof MqttHooks>().toEqualTypeOf<
    'onConnect' | 'onDisconnect' | 'onSubscribe' | 'onUnsubscribe' | 'onMessage' | 'preHandler' | 'onHandled' | 'onError' | 'onPublish' | 'onPublished'
  >()
  app.mqtt.addHook('onConnect', function (info) {
    expectTypeOf(this).toEqualTypeOf<FastifyInstance>()
    expectTypeOf(info).toEqualTypeOf<ConnectionInfo>()
  })
  app.mqtt.addHook('onDisconnect', error => { expectTypeOf(error).toEqualTypeOf<Error | undefined>() })
  app.mqtt.addHook('onSubscribe', granted => { expectTypeOf(granted).toEqualTypeOf<Granted>() })
  app.mqtt.addHook('onUnsubscribe', filter => { expectTypeOf(filter).toEqualTypeOf<string>() })
  app.mqtt.addHook('onMessage', function (message) {
    expectTypeOf(this).toEqualTypeOf<FastifyInstance>()
    expectTypeOf(message).toEqualTypeOf<Message>()
    expectTypeOf(message.body).toBeUnknown()
    expectTypeOf(message.params).toEqualTypeOf<Readonly<Record<string, unknown>>>()
    expectTypeOf(message.route).toEqualTypeOf<Route | undefined>()
  })
  app.mqtt.addHook('preHandler', async message => { expectTypeOf(message).toEqualTypeOf<Message>() })
  app.mqtt.addHook('onHandled', (message, result) => {
    expectTypeOf(message).toEqualTypeOf<Message>()
    expectTypeOf(result).toBeUnknown()
  })
  app.mqtt.addHook('onError', (error, message) => {
    expectTypeOf(error).toEqualTypeOf<Error>()
    expectTypeOf(message).toEqualTypeOf<Message>()
  })
  app.mqtt.addHook('onPublish', packet => {
    expectTypeOf(packet).toEqualTypeOf<PublishPacket>()
    expectTypeOf(packet.payload).toEqualTypeOf<Buffer>()
    expectTypeOf(packet.qos).toEqualTypeOf<QoS>()
    packet.topic = 'another'
    packet.payload = { anything: 'that publish takes' }
    packet.properties.userProperties = { tenant: 'a' }
  })
  app.mqtt.addHook('onPublished', async (packet, result) => {
    expectTypeOf(packet).toEqualTypeOf<PublishPacket>()
    expectTypeOf(result).toEqualTypeOf<PublishResult>()
  })
  expectTypeOf(app.mqtt.addHook('onMessage', () => {})).toEqualTypeOf(app.mqtt)

  // @ts-expect-error a hook of HTTP
  app.mqtt.addHook('onRequest', () => {})
  // @ts-expect-error there is no callback
  app.mqtt.addHook('onMessage', (message, done) => { done() })
  // @ts-expect-error it gets the error first
  app.mqtt.addHook('onError', (message: Message) => { void message })
  // @ts-expect-error the payload is bytes, whatever was published
  app.mqtt.addHook('onPublish', packet => packet.payload.toFixed())
}

export function failures (): void {
  const retry: RetryOptions = { attempts: 3, delay: 100, factor: 1 }
  const preHandler: PreHandlerHook = function (message) { expectTypeOf(message).toEqualTypeOf<Message>() }
  app.mqtt.topic('a/<int:n>', {
    retry,
    deadLetter: 'dead/a',
    preHandler: [preHandler, async message => { expectTypeOf(message).toEqualTypeOf<Message>() }],
    onError: (error, message) => {
      expectTypeOf(error).toEqualTypeOf<Error>()
      expectTypeOf(message).toEqualTypeOf<Message>()
    },
    parse: 'json'
  }, ({ params }) => { expectTypeOf(params.n).toEqualTypeOf<number>() })
  app.mqtt.setErrorHandler(async function (error, message) {
    expectTypeOf(this).toEqualTypeOf<FastifyInstance>()
    expectTypeOf(error).toEqualTypeOf<Error>()
    expectTypeOf(message).toEqualTypeOf<Message>()
  })
  expectTypeOf<ErrorHandler>().returns.toBeUnknown()
  app.mqtt.setNotFoundHandler(function (message) {
    expectTypeOf(this).toEqualTypeOf<FastifyInstance>()
    expectTypeOf(message).toEqualTypeOf<Message>()
  })
  void app.register(async () => {}, { mqttPrefix: 'rooms/<int:room>', prefix: '/rooms' })

  // @ts-expect-error attempts is required
  app.mqtt.topic('a', { retry: { delay: 1 } })
  // @ts-expect-error unknown option
  app.mqtt.topic('a', { retry: { attempts: 1, times: 3 } })
  // @ts-expect-error one topic, not several
  app.mqtt.topic('a', { deadLetter: ['dead'] })
  // @ts-expect-error no such mode
  app.mqtt.topic('a', { parse: 'xml' })
  // @ts-expect-error a text
  void app.register(async () => {}, { mqttPrefix: 7 })
}

export async function inject (): Promise<void> {
  const message: InjectMessage = {
    topic: 'a', payload: { any: 'thing' }, qos: 2, retain: true, absolute: true, properties: { responseTopic: 'me', userProperties: { tenant: ['a', 'b'] } }
  }
  const result = await app.mqtt.inject(message)
  expectTypeOf(result).toEqualTypeOf<InjectResult>()
  expectTypeOf<keyof InjectResult>().toEqualTypeOf<'matched' | 'results' | 'reply' | 'error' | 'acked' | 'reasonCode' | 'published'>()
  expectTypeOf(result.matched).toEqualTypeOf<readonly string[]>()
  expectTypeOf(result.results).toEqualTypeOf<readonly unknown[]>()
  expectTypeOf(result.reply).toEqualTypeOf<PublishedMessage | undefined>()
  expectTypeOf(result.error).toEqualTypeOf<(Error & { readonly code?: string }) | undefined>()
  expectTypeOf(result.acked).toEqualTypeOf<boolean>()
  expectTypeOf(result.reasonCode).toEqualTypeOf<number>()
  expectTypeOf(result.published).toEqualTypeOf<readonly PublishedMessage[]>()
  expectTypeOf<PublishedMessage>().toEqualTypeOf<{
    readonly topic: string
    readonly absoluteTopic: string
    readonly payload: Buffer
    readonly qos: QoS
    readonly retain: boolean
    readonly properties: PublishProperties
  }>()

  // @ts-expect-error a topic is needed
  void app.mqtt.inject({ payload: 1 })
  // @ts-expect-error no option of a message
  void app.mqtt.inject({ topic: 'a', timeout: 1 })
  // @ts-expect-error the topic is in the message
  void app.mqtt.inject('a', 'payload')
}

t.test('types compiled', async t => { t.pass() })
