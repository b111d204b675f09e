import { FST_MQTT_NO_PLUGIN, FST_MQTT_ROUTE_UNKNOWN, rejected, type MqttError } from '../lib/errors.ts'
import { isTopicDefinition, type TopicDefinition } from '../lib/topics/define.ts'
import type { MultiMqtt, ParamsOf, PublishOptions, PublishResult } from '../lib/types.ts'
import type { WorkerClient } from './client.ts'
import { discover } from './handshake.ts'

/** `mqtt` in a worker thread: publishes through the connection that the application's thread owns. */
export interface WorkerMqtt {
  /**
   * As `app.mqtt.publish`, with the same topics, payloads, options, results and errors, but for this: QoS 0 resolves
   * when it has been handed over, as long as no more than `workers.window` bytes are unconfirmed. What was published in
   * a turn that has ended is sent whatever becomes of the worker.
   *
   * @throws besides those of `app.mqtt.publish`: `FST_MQTT_NO_PLUGIN`, `FST_MQTT_WORKER_TOPIC`
   * @example
   * export default async function (job) {
   *   await mqtt.publish('my-thread/' + job.id, { done: true }, { qos: 1 })
   * }
   */
  publish: MultiMqtt['publish']
  /**
   * Resolves when the application's thread has answered. Publishing does not have to wait for it.
   *
   * @throws `FST_MQTT_NO_PLUGIN`, `FST_MQTT_CLOSED`
   */
  ready (): Promise<void>
  /**
   * Builds a topic of a definition, relative to the prefix; with `absolute` the prefix is in front, and {@link ready}
   * must have resolved. The routes of the application are not known here, so there is no `topicFor` of a name.
   *
   * @throws `FST_MQTT_PARAM`, `FST_MQTT_ROUTE_UNKNOWN`, `FST_MQTT_NO_PLUGIN`
   */
  topicFor<D extends TopicDefinition> (definition: D, params?: ParamsOf<D>, options?: { absolute?: boolean }): string
}

class NamespaceMqtt implements WorkerMqtt {
  readonly #namespace: string
  #client: WorkerClient | undefined

  constructor (namespace: string) {
    this.#namespace = namespace
  }

  publish (topic: string | TopicDefinition, ...args: unknown[]): Promise<PublishResult> {
    let name: string
    try {
      name = isTopicDefinition(topic) ? topic.topicFor(...(hasParams(topic) ? [args.shift()] : []) as [never]) : topic
    } catch (error) {
      (error as MqttError).maybeSent = false
      return rejected(error as Error)
    }
    return this.#open().publish(name, args[0], args[1] as PublishOptions | undefined)
  }

  ready (): Promise<void> {
    return this.#open().ready()
  }

  topicFor (definition: TopicDefinition, params?: object, { absolute = false }: { absolute?: boolean } = {}): string {
    if (!isTopicDefinition(definition)) {
      throw FST_MQTT_ROUTE_UNKNOWN('topicFor in a worker takes a definition made by defineTopic; it does not know the routes\' names')
    }
    const topic = definition.topicFor(params as never)
    if (!absolute) return topic
    const prefix = this.#client?.prefix
    if (prefix === undefined) throw FST_MQTT_NO_PLUGIN('The prefix is not known yet: await mqtt.ready() before asking for an absolute topic')
    return prefix === '' ? topic : `${prefix}/${topic}`
  }

  /** Looks for the application again when the last one has closed, or was not there. */
  #open (): WorkerClient {
    const over = this.#client?.over
    if (this.#client === undefined || over !== undefined) {
      this.#client = discover(this.#namespace, over?.code === 'FST_MQTT_CLOSED' ? over : undefined)
    }
    return this.#client
  }
}

const opened = new Map<string, WorkerMqtt>()

/** The connection that was registered with this `namespace`, from inside a worker thread. */
export function getMqtt (namespace = ''): WorkerMqtt {
  let mqtt = opened.get(namespace)
  if (mqtt === undefined) {
    mqtt = new NamespaceMqtt(namespace)
    opened.set(namespace, mqtt)
  }
  return mqtt
}

/** The connection without a namespace, from inside a worker thread. */
export const mqtt: WorkerMqtt = getMqtt()

/** A definition without placeholders takes no parameters: `publish(plain, payload)`. */
function hasParams (definition: TopicDefinition): boolean {
  return definition.pattern.includes('<')
}
