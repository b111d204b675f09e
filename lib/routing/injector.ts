import { AsyncResource } from 'node:async_hooks'
import { FST_MQTT_CLOSED, FST_MQTT_PROPERTY, FST_MQTT_TOPIC, reading } from '../errors.ts'
import { Reception } from '../inbox/inbox.ts'
import type { Job, Scheduler } from '../inbox/scheduler.ts'
import type { PublishRecord, Recorder } from '../outbox/recorder.ts'
import { addPrefix, stripPrefix } from '../topics/prefix.ts'
import { topicNameError } from '../topics/topic.ts'
import type { InjectMessage, InjectResult, PublishedMessage, ReceivedProperties } from '../types.ts'
import { Publish } from '../wire/decode.ts'
import { toPayload } from '../wire/payload.ts'
import { encodeProperties } from '../wire/properties.ts'
import type { Dispatcher, Observer } from './dispatcher.ts'
import type { MqttRoute } from './route.ts'

const KNOWN = new Set(['topic', 'payload', 'qos', 'retain', 'properties', 'absolute'])

export interface InjectorOptions {
  readonly prefix: string
  readonly dispatcher: Dispatcher
  readonly scheduler: Scheduler
  readonly recorder: Recorder
  /** Resolves when the application is ready. */
  readonly ready: () => Promise<unknown>
}

/** Messages that come from a test and not from a broker. They go the way of all others from the router on. */
export class Injector {
  readonly #options: InjectorOptions
  readonly #rejects = new Set<(error: Error) => void>()
  #closed = false

  constructor (options: InjectorOptions) {
    this.#options = options
  }

  /** See `MultiMqtt.inject`. */
  async inject (message: InjectMessage): Promise<InjectResult> {
    const publish = reading(() => this.#read(message))
    await this.#options.ready()
    if (this.#closed) throw closed()
    const records: PublishRecord[] = []
    const outcome = await this.#options.recorder.run(records, () => this.#handle(publish))
    return { ...outcome, ...takeReply(records.map(record => this.#toPublished(record)), publish) }
  }

  /** What the application's own routes answer to a message that asks for it. */
  async answer (message: InjectMessage): Promise<Publish | undefined> {
    const { reply } = await this.inject(message)
    return reply && toPublish(reply)
  }

  /** What has not been handled by now never will be. */
  close (): void {
    this.#closed = true
    for (const reject of this.#rejects) reject(closed())
  }

  #toPublished ({ topic: given, absolute, ...rest }: PublishRecord): PublishedMessage {
    const { prefix } = this.#options
    const absoluteTopic = absolute ? given : addPrefix(prefix, given)
    return { topic: stripPrefix(prefix, absoluteTopic) ?? absoluteTopic, absoluteTopic, ...rest }
  }

  #handle (publish: Publish): Promise<Omit<InjectResult, 'published' | 'reply'>> {
    const { dispatcher, scheduler } = this.#options
    const outcomes = new Outcomes()
    return new Promise((resolve, reject) => {
      this.#rejects.add(reject)
      const reception = new Reception(publish, (reasonCode, handled) => {
        this.#rejects.delete(reject)
        resolve({ ...outcomes.toResult(), acked: publish.qos > 0 && (handled || ackOnReceipt), reasonCode: ackOnReceipt ? 0 : reasonCode })
      })
      const { jobs, ackOnReceipt } = dispatcher.dispatch(reception, outcomes)
      for (const job of jobs) {
        reception.begin()
        scheduler.add(inThisContext(job))
      }
      reception.settled(0)
    })
  }

  #read (message: InjectMessage): Publish {
    if (typeof message !== 'object' || message === null) throw FST_MQTT_PROPERTY('inject: must be an object with topic')
    const unknown = Object.keys(message).find(key => !KNOWN.has(key))
    if (unknown !== undefined) throw FST_MQTT_PROPERTY(`${unknown}: unknown option of inject (known: ${[...KNOWN].join(', ')})`)
    const { topic, payload, qos = 0, retain = false, properties, absolute = false } = message
    if (typeof topic !== 'string') throw FST_MQTT_TOPIC('inject: topic must be a string')
    if (qos !== 0 && qos !== 1 && qos !== 2) throw FST_MQTT_PROPERTY('qos must be 0, 1 or 2')
    const absoluteTopic = absolute ? topic : addPrefix(this.#options.prefix, topic)
    const wrong = topicNameError(absoluteTopic)
    if (wrong !== null) throw FST_MQTT_TOPIC(`inject: the topic ${wrong}`)
    // What cannot be sent cannot come, either.
    if (properties !== undefined) encodeProperties(properties)
    const bytes = Buffer.from(toPayload(payload) as string)
    return toPublish({ absoluteTopic, payload: bytes, qos, retain, properties })
  }
}

function toPublish ({ absoluteTopic, payload, qos, retain, properties }: Omit<PublishedMessage, 'topic' | 'properties'> & Pick<InjectMessage, 'properties'>): Publish {
  const publish = new Publish(absoluteTopic, payload, qos << 1 | (retain ? 1 : 0), 0, payload.length)
  publish.properties = received(properties)
  return publish
}

/** A job that waits is started by whoever it waited for, and what it publishes would be recorded there. */
function inThisContext (job: Job): Job {
  const run = AsyncResource.bind(() => job.run())
  return { track: job.track, key: job.key, run, keep: () => job.keep(), get dropped () { return job.dropped } }
}

/** What became of a message in each of its routes, in the order in which they were declared. */
class Outcomes implements Observer {
  readonly #matched: MqttRoute[] = []
  readonly #results = new Map<MqttRoute, unknown>()
  #error: Error | undefined

  matched (route: MqttRoute): void {
    this.#matched.push(route)
  }

  returned (route: MqttRoute, value: unknown): void {
    this.#results.set(route, value)
  }

  failed (error: Error): void {
    this.#error ??= error
  }

  toResult (): Pick<InjectResult, 'matched' | 'results' | 'error'> {
    return {
      matched: this.#matched.map(route => route.name ?? route.pattern),
      results: this.#matched.map(route => this.#results.get(route)),
      error: this.#error
    }
  }
}

/** The answer is among what was published: the first that goes where one was asked for. */
function takeReply (published: PublishedMessage[], { properties }: Publish): Pick<InjectResult, 'published' | 'reply'> {
  const at = properties?.responseTopic === undefined ? -1 : published.findIndex(({ absoluteTopic }) => absoluteTopic === properties.responseTopic)
  return { reply: published[at], published: published.filter((_, i) => i !== at) }
}

function closed (): Error {
  return FST_MQTT_CLOSED('The application has closed, and handlers run no more')
}

function received (properties: InjectMessage['properties']): ReceivedProperties | undefined {
  if (properties === undefined) return undefined
  const { correlationData, userProperties, ...rest } = properties
  return {
    ...rest,
    ...(correlationData !== undefined && { correlationData: Buffer.from(correlationData) }),
    ...(userProperties !== undefined && { userProperties: Object.assign(Object.create(null) as Record<string, string | string[]>, userProperties) })
  } as ReceivedProperties
}
