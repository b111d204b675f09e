/*
 * `fastify-multimqtt/worker`: what runs inside worker threads. It loads none of what the main thread needs.
 */

export { getMqtt, mqtt } from './mqtt.ts'
export { defineTopic } from '../lib/topics/define.ts'
export { errors } from '../lib/errors.ts'

export type { WorkerMqtt } from './mqtt.ts'
export type { WorkerReply } from './reply.ts'
export type { MqttError, MqttErrorCode } from '../lib/errors.ts'
export type { TopicDefinition, TopicOptions } from '../lib/topics/define.ts'
export type { PoolTask, PublishOptions, PublishResult, PublishProperties, QoS, RequestOptions } from '../lib/types/index.ts'
