import type { FastifyInstance } from 'fastify'
import type { TopicDefinition } from '../topics/define.ts'
import type { Message } from '../types/index.ts'
import type { InboundMessage } from './message.ts'
import { compileBody, compileJson, isJson, type BodyCheck, type Serialize } from './schema.ts'

/** What the schemas of definitions do to the publishes and requests of one scope. Each is compiled when it is first needed. */
export class DefinitionSchemas {
  readonly #instance: FastifyInstance
  readonly #isReady: () => boolean
  readonly #serializers = new WeakMap<TopicDefinition, Serialize>()
  readonly #checks = new WeakMap<TopicDefinition, BodyCheck>()

  /** @param isReady no compiler and no shared schema comes any more: what is compiled can be kept */
  constructor (instance: FastifyInstance, isReady: () => boolean) {
    this.#instance = instance
    this.#isReady = isReady
  }

  /**
   * The payload as JSON by the definition's schema, where it would be sent as JSON anyway.
   *
   * @throws `FST_MQTT_PAYLOAD` when it does not fit, `FST_MQTT_OPTIONS` when the schema does not compile
   */
  serialize (definition: TopicDefinition, payload: unknown): unknown {
    const schema = definition.schema?.payload
    if (schema === undefined || !isJson(payload)) return payload
    return this.#keep(this.#serializers, definition, () => compileJson(this.#instance, schema, definition.pattern, 'payload'))(payload)
  }

  /**
   * What lets an answer through when it is what the definition says, and else rejects with `FST_MQTT_INVALID_BODY`.
   *
   * @throws `FST_MQTT_OPTIONS` when the schema does not compile
   */
  checkReply (definition: TopicDefinition): ((answer: Message) => Promise<Message>) | undefined {
    const schema = definition.schema?.reply
    if (schema === undefined) return undefined
    const check = this.#keep(this.#checks, definition, () => compileBody(this.#instance, schema, definition.pattern, 'reply'))
    return async answer => {
      await (answer as InboundMessage).validate(check)
      return answer
    }
  }

  #keep<T extends object> (kept: WeakMap<TopicDefinition, T>, definition: TopicDefinition, compile: () => T): T {
    let made = kept.get(definition)
    if (made === undefined) {
      made = compile()
      if (this.#isReady()) kept.set(definition, made)
    }
    return made
  }
}
