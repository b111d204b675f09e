import { isUtf8 } from 'node:buffer'
import { PublishHooks } from '../outbox/publish-hooks.ts'
import { wellBehaved } from '../topics/text.ts'
import type { PublishOptions, ReceivedProperties } from '../types/index.ts'
import type { ProtocolVersion } from '../wire/packet.ts'
import { describeError, ERROR_CODE, ERROR_MESSAGE } from '../wire/user-properties.ts'
import type { InboundMessage } from './message.ts'

export interface DeadLettersOptions {
  /** Settles when the broker has it, or never will. */
  readonly publish: (topic: string, payload: unknown, options: PublishOptions, hooks: PublishHooks | undefined) => Promise<unknown>
  /** Of the connection, or of the one that is expected. */
  readonly version: () => ProtocolVersion
}

/** Where messages go whose handler has failed for good. */
export class DeadLetters {
  readonly #options: DeadLettersOptions

  constructor (options: DeadLettersOptions) {
    this.#options = options
  }

  /** Resolves when the broker has confirmed it, and rejects as `publish` does. `topic` is absolute. */
  async send (topic: string, message: InboundMessage, error: Error): Promise<void> {
    // At least once, also for a message that came at most once: this is the last that is heard of it.
    const qos = message.qos === 2 ? 2 : 1
    const [payload, properties] = this.#options.version() < 5 ? [envelope(message, error), undefined] : [message.payload, tags(message, error)]
    const hooks = message.route && PublishHooks.of(message.route.definition.scope)
    await this.#options.publish(topic, payload, { qos, absolute: true, properties }, hooks)
  }
}

/** Of a message that is a dead letter itself: the topic where it failed. MQTT 5 only. */
export function deadLetterFrom ({ properties: { userProperties } }: InboundMessage): string | undefined {
  const topic = userProperties?.[ERROR_CODE] === undefined ? undefined : userProperties.topic
  return typeof topic === 'string' ? topic : undefined
}

/** On MQTT 5 the message goes as it came, and user properties say why it is here. */
function tags ({ properties, absoluteTopic, route }: InboundMessage, error: Error): PublishOptions['properties'] {
  const { contentType, payloadFormatIndicator, userProperties } = properties
  const { code, message } = describeError(error)
  return {
    ...(contentType !== undefined && { contentType: wellBehaved(contentType) }),
    ...(payloadFormatIndicator !== undefined && { payloadFormatIndicator }),
    userProperties: {
      ...tamed(userProperties),
      [ERROR_CODE]: code,
      [ERROR_MESSAGE]: message,
      route: wellBehaved(route?.name ?? route?.pattern ?? ''),
      topic: wellBehaved(absoluteTopic)
    }
  }
}

/** A broker may have let through what `publish` would not send, and this message must not get lost over it. */
function tamed (userProperties: ReceivedProperties['userProperties'] = {}): Record<string, string | string[]> {
  return Object.fromEntries(Object.entries(userProperties).map(([name, value]) => [
    wellBehaved(name), Array.isArray(value) ? value.map(one => wellBehaved(one)) : wellBehaved(value)
  ]))
}

/** MQTT 3.1.1 has no properties, so all of it goes into JSON. */
function envelope ({ absoluteTopic, route, payload, qos, retain, receivedAt }: InboundMessage, error: Error): object {
  const encoding = isUtf8(payload) ? 'utf8' : 'base64'
  return { error: describeError(error), route: route?.name ?? route?.pattern, topic: absoluteTopic, qos, retain, receivedAt, encoding, payload: payload.toString(encoding) }
}
