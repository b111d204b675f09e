import type { MqttClient } from 'mqtt'
import type { FastifyInstance } from 'fastify'
import { expectTypeOf } from 'expect-type'
import t from 'tap'
import Type from 'typebox'
import type {
  ConnectionState, Counters, Granted, Message, MultiMqtt, PublishOptions, PublishProperties, QoS, ReceivedProperties, RequestOptions, Route, RouteOptions, Status,
  SubscribeOptions, SubscriptionStatus
} from '../../lib/index.ts'
import { defineTopic, topic } from '../../lib/index.ts'

/* The rest of contract section 5 as types. What tsc checks when this file is compiled; nothing of it runs. */

declare const app: FastifyInstance

export function facade (): void {
  expectTypeOf<MultiMqtt['state']>().toEqualTypeOf<'idle' | 'connecting' | 'connected' | 'reconnecting' | 'refused' | 'closing' | 'closed'>()
  expectTypeOf<ConnectionState>().toEqualTypeOf<MultiMqtt['state']>()
  expectTypeOf(app.mqtt.connected).toEqualTypeOf<boolean>()
  expectTypeOf(app.mqtt.protocolVersion).toEqualTypeOf<3 | 4 | 5 | undefined>()
  expectTypeOf(app.mqtt.prefix).toEqualTypeOf<string>()
  expectTypeOf(app.mqtt.client).toEqualTypeOf<MqttClient>()
  expectTypeOf(app.mqtt.subscriptions).toEqualTypeOf<SubscriptionStatus[]>()
  expectTypeOf(app.mqtt.status()).toEqualTypeOf<Status>()
  expectTypeOf(app.mqtt.printTopics()).toEqualTypeOf<string>()
  expectTypeOf(app.mqtt.subscribe(['a/#', 'b'], { qos: 1 })).toEqualTypeOf<Promise<Granted[]>>()
  expectTypeOf(app.mqtt.unsubscribe(['a/#', 'b'])).toEqualTypeOf<Promise<void>>()
  expectTypeOf(app.mqtt.unsubscribeAll()).toEqualTypeOf<Promise<void>>()
  expectTypeOf(app.mqtt.topicFor('a', { n: 1 }, { absolute: true })).toEqualTypeOf<string>()
  expectTypeOf(app.mqtt.filterFor('a', { absolute: true })).toEqualTypeOf<string>()
  expectTypeOf(app.mqtt.embedded?.address()).toEqualTypeOf<{ host: string, port: number } | null | undefined>()
  // @ts-expect-error it is the plugin's to say
  app.mqtt.prefix = 'x'
}

export function statusFields (): void {
  expectTypeOf<keyof Status>().toEqualTypeOf<'state' | 'connected' | 'since' | 'protocolVersion' | 'lastError' | 'outbox' | 'inbox' | 'workers' | 'subscriptions' | 'counters'>()
  expectTypeOf<Status['lastError']>().toEqualTypeOf<{ readonly code: string, readonly message: string } | undefined>()
  expectTypeOf<Status['outbox']>().toEqualTypeOf<{ readonly messages: number, readonly bytes: number, readonly inflight: number }>()
  expectTypeOf<Status['inbox']>().toEqualTypeOf<{ readonly messages: number, readonly bytes: number, readonly running: number }>()
  expectTypeOf<Counters>().toEqualTypeOf<Record<'published' | 'refused' | 'received' | 'handled' | 'failed' | 'unmatched' | 'dropped' | 'oversize' | 'reconnects', number>>()
  expectTypeOf<SubscriptionStatus['status']>().toEqualTypeOf<'pending' | 'active' | 'refused'>()
}

export function options (): void {
  expectTypeOf<keyof RouteOptions>().toEqualTypeOf<
    'name' | 'qos' | 'noLocal' | 'retainAsPublished' | 'retainHandling' | 'absolute' | 'group' | 'schema' | 'parse' | 'ack' | 'concurrency' | 'order' | 'handlerTimeout' |
    'retry' | 'deadLetter' | 'preHandler' | 'onError' | 'config'
  >()
  expectTypeOf<keyof SubscribeOptions>().toEqualTypeOf<'qos' | 'noLocal' | 'retainAsPublished' | 'retainHandling' | 'absolute'>()
  expectTypeOf<keyof PublishOptions>().toEqualTypeOf<'qos' | 'retain' | 'absolute' | 'properties' | 'timeout' | 'signal'>()
  expectTypeOf<keyof RequestOptions>().toEqualTypeOf<'qos' | 'absolute' | 'properties' | 'timeout' | 'signal'>()
  expectTypeOf<keyof PublishProperties>().toEqualTypeOf<
    'messageExpiryInterval' | 'contentType' | 'responseTopic' | 'correlationData' | 'userProperties' | 'payloadFormatIndicator'
  >()
  expectTypeOf<RouteOptions['parse']>().toEqualTypeOf<'auto' | 'json' | 'text' | 'buffer' | undefined>()
  expectTypeOf<RouteOptions['ack']>().toEqualTypeOf<'handled' | 'received' | undefined>()
  expectTypeOf<RouteOptions['order']>().toEqualTypeOf<'topic' | 'none' | undefined>()
  expectTypeOf<RouteOptions['group']>().toEqualTypeOf<string | false | undefined>()
  // @ts-expect-error request() sets it itself
  void app.mqtt.request('a', '', { properties: { responseTopic: 'me' } })
  // @ts-expect-error a request is for those who are there now
  void app.mqtt.request('a', '', { retain: true })
}

export function route (plain: Route<'a/<int:n>'>, message: Message<'a/<int:n>'>): void {
  expectTypeOf(plain.name).toEqualTypeOf<string | undefined>()
  expectTypeOf(plain.subscribed).toEqualTypeOf<Promise<Granted>>()
  expectTypeOf(plain.remove()).toEqualTypeOf<Promise<void>>()
  expectTypeOf(plain.topicFor({ n: 1 })).toEqualTypeOf<string>()
  expectTypeOf(message.params).toEqualTypeOf<{ readonly n: number }>()
  expectTypeOf(message.wildcards).toEqualTypeOf<readonly string[]>()
  expectTypeOf(message.payload).toEqualTypeOf<Buffer>()
  expectTypeOf(message.qos).toEqualTypeOf<QoS>()
  expectTypeOf(message.properties).toEqualTypeOf<ReceivedProperties>()
  expectTypeOf(message.signal).toEqualTypeOf<AbortSignal>()
  expectTypeOf(message.receivedAt).toEqualTypeOf<number>()
  expectTypeOf(message.json<{ a: 1 }>()).toEqualTypeOf<{ a: 1 }>()
  expectTypeOf(message.text()).toEqualTypeOf<string>()
  // @ts-expect-error it is what came
  message.topic = 'b'
  // @ts-expect-error another type
  plain.topicFor({ n: 'one' })
}

const Sum = Type.Object({ sum: Type.Integer() })
const add = defineTopic('add', { schema: { reply: Sum } })

/** A method's result is checked by the schema of the reply, as a handler's is. */
export class Replies {
  @topic('a', { schema: { reply: Sum } })
  good (): { sum: number } { return { sum: 1 } }

  @topic(add)
  async defined (): Promise<{ sum: number }> { return { sum: 1 } }

  @topic(add)
  nothing (): void {}

  @topic(add)
  bytes (): Buffer { return Buffer.from('{"sum":1}') }

  // @ts-expect-error not what the schema says
  @topic('a', { schema: { reply: Sum } })
  bad (): { total: number } { return { total: 1 } }

  // @ts-expect-error neither is what this promises
  @topic(add)
  async worse (): Promise<string> { return 'one' }
}

t.test('types compiled', async t => { t.pass() })
