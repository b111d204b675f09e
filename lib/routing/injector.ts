import { AsyncResource } from 'node:async_hooks'
import { FST_MQTT_CLOSED, FST_MQTT_PROPERTY, FST_MQTT_TOPIC, reading } from '../errors.ts'
import { Reception } from '../inbox/inbox.ts'
import type { Job, Scheduler } from '../inbox/scheduler.ts'
import type { PublishRecord, Recorder } from '../outbox/recorder.ts'
import { addPrefix, stripPrefix } from '../topics/prefix.ts'
import { topicNameError } from '../topics/topic.ts'
import type { InjectMessage, InjectResult, PublishedMessage, PublishResult, ReceivedProperties } from '../types/index.ts'
import { copyOf } from '../wire/copy.ts'
import { Publish } from '../wire/decode.ts'
import { toPayload } from '../wire/payload.ts'
import { encodeProperties } from '../wire/properties.ts'
import type { Dispatcher } from './dispatcher.ts'
import type { Observer } from './observer.ts'
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
    return this.#run(publish)
  }

  /** Sends a request, and lets the application's own routes answer what the hooks have made of it. */
  async answer (send: () => Promise<PublishResult>, onReply: (reply: Publish) => void): Promise<PublishResult> {
    const records: PublishRecord[] = []
    const result = await this.#options.recorder.run(records, send)
    const [request] = records
    if (request !== undefined) this.#run(toPublish(this.#toPublished(request))).then(({ reply }) => { if (reply !== undefined) onReply(toPublish(reply)) }, noop)
    return result
  }

  async #run (publish: Publish): Promise<InjectResult> {
    if (this.#closed) throw closed()
    const records: PublishRecord[] = []
    const outcome = await this.#options.recorder.run(records, () => this.#handle(publish))
    return { ...outcome, ...takeReply(records.map(record => this.#toPublished(record)), publish) }
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
    const { dispatcher, scheduler, recorder } = this.#options
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
        const bound = inThisContext(job)
        // What waits behind it is not part of this message.
        recorder.exclude(() => scheduler.add(bound))
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
    if (typeof retain !== 'boolean') throw FST_MQTT_PROPERTY('retain must be a boolean')
    if (typeof absolute !== 'boolean') throw FST_MQTT_PROPERTY('absolute must be a boolean')
    const absoluteTopic = absolute ? topic : addPrefix(this.#options.prefix, topic)
    const wrong = topicNameError(absoluteTopic)
    if (wrong !== null) throw FST_MQTT_TOPIC(`inject: the topic ${wrong}`)
    // What cannot be sent cannot come, either.
    if (properties !== undefined) encodeProperties(properties)
    const bytes = copyOf(toPayload(payload))
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

/** The answer is among what was published: the last that goes where one was asked for, and says to what. */
function takeReply (published: PublishedMessage[], { properties }: Publish): Pick<InjectResult, 'published' | 'reply'> {
  const at = properties?.responseTopic === undefined ? -1 : published.findLastIndex(reply => reply.absoluteTopic === properties.responseTopic && isSame(reply.properties.correlationData, properties.correlationData))
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

function isSame (one: Uint8Array | undefined, other: Uint8Array | undefined): boolean {
  return one === undefined || other === undefined ? one === other : Buffer.compare(one, other) === 0
}

function noop (): void {}
