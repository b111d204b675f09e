import type { FastifyInstance } from 'fastify'
import type { TopicDefinition } from '../topics/define.ts'
import type { Message } from '../types.ts'
import type { InboundMessage } from './message.ts'
import { compileBody, compileJson, isJson, type BodyCheck, type Serialize } from './schema.ts'

/** What the schemas of definitions do to the publishes and requests of one scope. Each is compiled when it is first needed. */
export class DefinitionSchemas {
  readonly #instance: FastifyInstance
  readonly #serializers = new WeakMap<TopicDefinition, Serialize>()
  readonly #checks = new WeakMap<TopicDefinition, BodyCheck>()

  constructor (instance: FastifyInstance) {
    this.#instance = instance
  }

  /**
   * The payload as JSON by the definition's schema, where it would be sent as JSON anyway.
   *
   * @throws `FST_MQTT_PAYLOAD` when it does not fit, `FST_MQTT_OPTIONS` when the schema does not compile
   */
  serialize (definition: TopicDefinition, payload: unknown): unknown {
    const schema = definition.schema?.payload
    if (schema === undefined || !isJson(payload)) return payload
    let serialize = this.#serializers.get(definition)
    if (serialize === undefined) this.#serializers.set(definition, serialize = compileJson(this.#instance, schema, definition.pattern, 'payload'))
    return serialize(payload)
  }

  /** The answer, when it is what the definition says; else rejects with `FST_MQTT_INVALID_BODY`. */
  async check (definition: TopicDefinition, answer: Promise<Message>): Promise<Message> {
    const schema = definition.schema?.reply
    const message = await answer
    if (schema === undefined) return message
    let check = this.#checks.get(definition)
    if (check === undefined) this.#checks.set(definition, check = compileBody(this.#instance, schema, definition.pattern, 'reply'))
    await (message as InboundMessage).validate(check)
    return message
  }
}
