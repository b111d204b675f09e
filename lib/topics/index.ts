/*
 * `fastify-multimqtt/topics`: topics as shared definitions. It has no dependency and runs in workers and browsers.
 */

export { defineTopic } from './define.ts'
export { filterMatches } from './filter.ts'
export { FST_MQTT_PARAM, FST_MQTT_PATTERN } from './errors.ts'

export type { Converter, ConverterMap, Converters } from './converters.ts'
export type { TopicDefinition, TopicOptions, TopicSchema } from './define.ts'
export type { CodedError } from './errors.ts'
export type { Params, ParamsArgument, TopicError } from './params.ts'
