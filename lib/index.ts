export { default, default as multimqtt } from './plugin.ts'
export { topic } from './routing/decorators.ts'
export { poolHandler } from './routing/pool-handler.ts'
export { defineTopic } from './topics/define.ts'
export {
  FST_MQTT_OPTIONS,
  FST_MQTT_PATTERN,
  FST_MQTT_PARAM,
  FST_MQTT_ROUTE_UNKNOWN,
  FST_MQTT_ROUTE_DUPLICATE,
  FST_MQTT_TOPIC,
  FST_MQTT_PAYLOAD,
  FST_MQTT_PROPERTY,
  FST_MQTT_INVALID_BODY,
  FST_MQTT_OUTBOX_FULL,
  FST_MQTT_TIMEOUT,
  FST_MQTT_ABORTED,
  FST_MQTT_CLOSED,
  FST_MQTT_POISON,
  FST_MQTT_PUBLISH_REFUSED,
  FST_MQTT_SUBSCRIBE_REFUSED,
  FST_MQTT_CONNECT_REFUSED,
  FST_MQTT_SESSION_LOST,
  FST_MQTT_NEEDS_V5,
  FST_MQTT_REPLY_ERROR,
  FST_MQTT_HANDLER_TIMEOUT,
  FST_MQTT_NO_PLUGIN,
  FST_MQTT_WORKER_TOPIC,
  FST_MQTT_WORKER_GONE,
  FST_MQTT_DYNSEC,
  FST_MQTT_EMBEDDED,
  errors,
  type MqttError,
  type MqttErrorCode
} from './errors.ts'
export type { MqttPluginOptions, WillOptions } from './options/plugin-options.ts'
export type { TlsOptions } from './connection/tls.ts'
export type {
  EmbeddedClient, EmbeddedCredentials, EmbeddedOptions, EmbeddedPublish, EmbeddedSubscribe
} from './embedded/options.ts'
export type { HandleEvent, PublishEvent, ReceiveEvent, WorkerEvent } from './tracing.ts'
export type { TopicDefinition } from './topics/define.ts'
export type { Converter, Converters } from './topics/converters.ts'
export type { Params } from './topics/params.ts'
export type {
  Answer, BodyOf, ConnectionInfo, ConnectionState, Counters, ErrorHandler, Granted, Handler, InjectMessage, InjectResult, Message, MqttHooks,
  MqttNamespaces, MultiMqtt, OnConnectHook, OnDisconnectHook, OnErrorHook, OnHandledHook, OnMessageHook, OnPublishedHook, OnPublishHook,
  OnSubscribeHook, OnUnsubscribeHook, ParamsOf, ParseMode, PayloadOf, PoolHandlerOptions, PoolLike, PoolTask, PreHandlerHook, ProtocolVersion,
  PublishedMessage, PublishOptions, PublishPacket, PublishProperties, PublishResult, QoS, ReceivedProperties, Reply, RequestOptions,
  RetryOptions, Route, RouteOptions, Status, SubscribeOptions, SubscriptionStatus, TypeOf, WorkerLike
} from './types/index.ts'
