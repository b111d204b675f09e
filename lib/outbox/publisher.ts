import { FST_MQTT_ABORTED, FST_MQTT_PAYLOAD, rejected, unsent } from '../errors.ts'
import type { PublishOptions, PublishResult } from '../types.ts'
import { encodePublish, payloadLength, publishLength, Slab, type Frame } from '../wire/encode.ts'
import { encodeProperties } from '../wire/properties.ts'
import type { ProtocolVersion, QoS } from '../wire/packet.ts'
import { toPayload } from '../wire/payload.ts'
import { checkPublishOptions, type CheckedPublishOptions } from '../wire/publish-options.ts'
import { TopicCache } from '../wire/topic-cache.ts'
import { Delivery } from './delivery.ts'
import { unaccepted } from './failures.ts'
import type { Outbox } from './outbox.ts'
import type { Recorder } from './recorder.ts'
import type { Source } from './source.ts'

const CONFIRMED: PublishResult = Object.freeze({ reasonCode: 0 })
const NONE: CheckedPublishOptions = Object.freeze(checkPublishOptions({}))
/** Frames above this are not joined to a run: a run settles, and is replaced, as one. */
const RUN_FRAME_MAX = 8 * 1024

export interface PublisherOptions {
  prefix: string
  /** Milliseconds until an unconfirmed publish is rejected; 0 is never. */
  timeout: number
  /** The layout to encode in: the connection's, or the one that is expected. */
  version: () => ProtocolVersion
  /** Properties were given, and the connection's version cannot carry them. */
  onUnsendable: () => void
  recorder: Recorder
}

interface Run {
  delivery: Delivery
  promise: Promise<PublishResult>
}

/** `publish` on the main thread: validates, encodes into a slab, and hands the frames to the outbox. */
export class Publisher {
  readonly #outbox: Outbox
  readonly #source: Source
  readonly #topics: TopicCache
  /** One for QoS 0, one for what may have to be kept: a frame in flight keeps its whole chunk of memory. */
  readonly #slab = new Slab()
  readonly #keptSlab = new Slab()
  readonly #timeout: number
  readonly #version: () => ProtocolVersion
  readonly #onUnsendable: () => void
  readonly #recorder: Recorder
  /** QoS 0 frames of this turn that settle together: one promise and one write for all of them. */
  #run: Run | undefined
  /** Why the outbox takes nothing more in this turn: one error and one promise, however many are published in it. */
  #refused: { why: string, promise: Promise<never> } | undefined
  /** The clock, read once a turn. */
  #now = 0
  readonly #endTurn = (): void => {
    this.#run = undefined
    this.#refused = undefined
    this.#now = 0
  }

  constructor (outbox: Outbox, source: Source, options: PublisherOptions) {
    this.#outbox = outbox
    this.#source = source
    this.#topics = new TopicCache(options.prefix)
    this.#timeout = options.timeout
    this.#version = options.version
    this.#onUnsendable = options.onUnsendable
    this.#recorder = options.recorder
  }

  /** See `MultiMqtt.publish`. Never throws: bad input rejects. */
  publish (topic: string, payload: unknown, options?: PublishOptions): Promise<PublishResult> {
    try {
      return this.#publish(topic, payload, options === undefined ? NONE : checkPublishOptions(options))
    } catch (error) {
      this.#outbox.counters.refused++
      return unsent(error)
    }
  }

  #publish (topic: string, payload: unknown, options: CheckedPublishOptions): Promise<PublishResult> {
    const { qos = 0, retain = false, signal } = options
    if (signal?.aborted === true) throw aborted(signal)
    const version = this.#version()
    const name = this.#topics.encode(topic, options.absolute === true)
    const bytes = toPayload(payload)
    const properties = options.properties === undefined ? null : encodeProperties(options.properties)
    if (properties !== null && version < 5) this.#onUnsendable()
    const length = payloadLength(bytes)
    const size = publishLength(name.length, length, qos, version, properties)
    const limit = this.#outbox.info?.maximumPacketSize ?? Infinity
    if (size > limit) throw FST_MQTT_PAYLOAD(`The packet has ${size} bytes, and the broker takes ${limit} at most`)
    const refusal = this.#outbox.refusal(this.#source, qos, 1, size)
    if (refusal !== undefined) return this.#refuse(refusal)
    if (this.#recorder.active) this.#recorder.note(topic, options.absolute === true, bytes, { qos, retain, properties: options.properties ?? {} })
    const slab = qos === 0 ? this.#slab : this.#keptSlab
    const start = slab.reserve(size)
    const { buffer } = slab
    const end = encodePublish(buffer, start, name, bytes, length, qos, retain, version, properties)

    const plain = qos === 0 && !retain && this.#outbox.attached && options.timeout === undefined && signal === undefined && size <= RUN_FRAME_MAX
    const run = this.#run
    if (plain && run !== undefined && run.delivery.buffer === buffer && run.delivery.end === start &&
      run.delivery.state === 'queued' && run.delivery.version === version && this.#outbox.extend(this.#source, run.delivery, end)) {
      return run.promise
    }
    this.#run = undefined
    return this.#deliver({ buffer, start, end }, version, qos, options, plain)
  }

  #beginTurn (): void {
    if (this.#now !== 0) return
    this.#now = performance.now()
    queueMicrotask(this.#endTurn)
  }

  #refuse (why: string): Promise<never> {
    this.#beginTurn()
    this.#outbox.counters.refused++
    if (this.#refused?.why !== why) this.#refused = { why, promise: rejected(unaccepted(why)) }
    return this.#refused.promise
  }

  #deliver (frame: Frame, version: ProtocolVersion, qos: QoS, options: CheckedPublishOptions, plain: boolean): Promise<PublishResult> {
    this.#beginTurn()
    const timeout = options.timeout ?? this.#timeout
    const { promise, resolve, reject } = withResolvers<PublishResult>()
    let unlisten: (() => void) | undefined
    const delivery = new Delivery(frame, version, qos, timeout === 0 ? Infinity : this.#now + timeout, (_delivery, error, reasonCode) => {
      unlisten?.()
      if (error === null) resolve(reasonCode === 0 ? CONFIRMED : { reasonCode })
      else { promise.catch(noop); reject(error) }
    })
    if (options.signal !== undefined) unlisten = this.#abortable(options.signal, delivery)
    this.#outbox.add(this.#source, delivery)
    if (plain && delivery.state === 'queued') this.#run = { delivery, promise }
    return promise
  }

  #abortable (signal: AbortSignal, delivery: Delivery): () => void {
    const onAbort = (): void => this.#outbox.abandon(delivery, aborted(signal))
    signal.addEventListener('abort', onAbort, { once: true })
    return () => signal.removeEventListener('abort', onAbort)
  }
}

function aborted (signal: AbortSignal): Error {
  const error = FST_MQTT_ABORTED('The publish was aborted by its signal')
  error.cause = signal.reason
  return error
}

function withResolvers<T> (): { promise: Promise<T>, resolve: (value: T) => void, reject: (error: Error) => void } {
  let resolve!: (value: T) => void
  let reject!: (error: Error) => void
  const promise = new Promise<T>((_resolve, _reject) => { resolve = _resolve; reject = _reject })
  return { promise, resolve, reject }
}

function noop (): void {}
