import { FST_MQTT_NO_PLUGIN, unsent } from '../lib/errors.ts'
import { isTopicDefinition, takeTopic, type TopicDefinition } from '../lib/topics/define.ts'
import type { MultiMqtt, ParamsOf, PayloadOf, PublishOptions, PublishResult, Reply, RequestOptions, TopicArguments } from '../lib/types/index.ts'
import type { WorkerClient } from './client.ts'
import { discover } from './handshake.ts'
import type { WorkerReply } from './reply.ts'

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
   * As `app.mqtt.request`: the answer is a message without `route` and `log`.
   *
   * @throws besides those of `app.mqtt.request`: `FST_MQTT_NO_PLUGIN`, `FST_MQTT_WORKER_TOPIC`
   */
  request (topic: string, payload?: unknown, options?: RequestOptions): Promise<WorkerReply>
  request<D extends TopicDefinition> (definition: D, ...args: [...params: TopicArguments<D>, payload?: PayloadOf<D>, options?: RequestOptions]): Promise<Omit<Reply<D>, 'route' | 'log'>>
  /**
   * Resolves when the application's thread has answered. Publishing does not have to wait for it.
   *
   * @throws `FST_MQTT_NO_PLUGIN`, `FST_MQTT_CLOSED`
   */
  ready (): Promise<void>
  /**
   * Builds a topic of one of the application's routes, by its name, or of a definition, relative to the prefix. For a name, and
   * with `absolute`, {@link ready} must have resolved. A route with converters of its own is not known here.
   *
   * @throws `FST_MQTT_PARAM`, `FST_MQTT_ROUTE_UNKNOWN`, `FST_MQTT_NO_PLUGIN`
   */
  topicFor (name: string, params?: Record<string, unknown>, options?: { absolute?: boolean | undefined }): string
  topicFor<D extends TopicDefinition> (definition: D, params?: ParamsOf<D>, options?: { absolute?: boolean | undefined }): string
}

class NamespaceMqtt implements WorkerMqtt {
  readonly #namespace: string
  #client: WorkerClient | undefined

  constructor (namespace: string) {
    this.#namespace = namespace
  }

  publish (topic: string | TopicDefinition, ...args: unknown[]): Promise<PublishResult> {
    try {
      const name = isTopicDefinition(topic) ? takeTopic(topic, args) : topic
      return this.#open().publish(name, args[0], args[1] as PublishOptions | undefined)
    } catch (error) {
      return unsent(error)
    }
  }

  request (topic: string | TopicDefinition, ...args: unknown[]): Promise<any> {
    try {
      const name = isTopicDefinition(topic) ? takeTopic(topic, args) : topic
      return this.#open().request(name, args[0], args[1] as RequestOptions | undefined)
    } catch (error) {
      return unsent(error)
    }
  }

  ready (): Promise<void> {
    return this.#open().ready()
  }

  topicFor (name: string | TopicDefinition, params?: object, { absolute = false }: { absolute?: boolean | undefined } = {}): string {
    const known = isTopicDefinition(name)
      ? { topic: name.topicFor(params as never), absolute: false }
      : this.#ready('the routes are').routes.topicFor(name, params)
    if (!absolute || known.absolute) return known.topic
    const { prefix } = this.#ready('the prefix is')
    return prefix === '' ? known.topic : `${prefix}/${known.topic}`
  }

  #ready (what: string): WorkerClient {
    if (this.#client?.connected !== true) throw FST_MQTT_NO_PLUGIN(`Not known yet what ${what}: await mqtt.ready() before asking`)
    // A thread that does not come back to its event loop, as between the tasks of Piscina, hears of new routes here.
    this.#client.drain()
    return this.#client
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
