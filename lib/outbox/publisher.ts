import { FST_MQTT_PAYLOAD, aborted, rejected, unsent } from '../errors.ts'
import { publishes } from '../tracing.ts'
import type { PublishOptions, PublishResult } from '../types/index.ts'
import { copyProperties } from '../wire/copy.ts'
import { encodePublish, payloadLength, publishLength, Slab, type Frame } from '../wire/encode.ts'
import { encodeProperties } from '../wire/properties.ts'
import type { ProtocolVersion, QoS } from '../wire/packet.ts'
import { toPayload } from '../wire/payload.ts'
import { checkPublishOptions, type CheckedPublishOptions } from '../wire/publish-options.ts'
import { TopicCache } from '../wire/topic-cache.ts'
import { Delivery } from './delivery.ts'
import { thrownByHook, unaccepted, withMaybeSent } from './failures.ts'
import { currentCall, waitsForItself, type HookCall } from './nesting.ts'
import type { Outbox } from './outbox.ts'
import { kKeep, kPayload, Packet, PacketEncoder, readPacket } from './packet.ts'
import type { Passage, PublishHooks } from './publish-hooks.ts'
import type { Recorder, Reservation } from './recorder.ts'
import type { Source } from './source.ts'
import { tracedPublish } from './traced.ts'

const CONFIRMED: PublishResult = Object.freeze({ reasonCode: 0 })
const NONE: CheckedPublishOptions = Object.freeze(checkPublishOptions({}))
const NO_BYTES = Buffer.alloc(0)
/** Frames above this are not joined to a run: a run settles, and is replaced, as one. */
const RUN_FRAME_MAX = 8 * 1024

export interface PublisherOptions {
  namespace?: string | undefined
  prefix: string
  /** Milliseconds until an unconfirmed publish is rejected; 0 is never. */
  timeout: number
  /** The layout to encode in: the connection's, or the one that is expected. */
  version: () => ProtocolVersion
  /** Properties were given, and the connection's version cannot carry them. */
  onUnsendable: () => void
  recorder: Recorder
  /** Throws when what hooks have made of a publish may not go to this topic, as the broker sees it. */
  permit?: (topic: string) => void
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
  readonly #options: PublisherOptions
  readonly #timeout: number
  readonly #version: () => ProtocolVersion
  readonly #onUnsendable: () => void
  readonly #recorder: Recorder
  /** Encodes what has waited in hooks. */
  #encoder: PacketEncoder | undefined
  /** For what hooks publish while they hold up something of this one. */
  #inner: Publisher | undefined
  /** It is such a one: what is in hooks has no place in the order, since there is always something that waits for it. */
  #isInner = false
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
    this.#options = options
    this.#timeout = options.timeout
    this.#version = options.version
    this.#onUnsendable = options.onUnsendable
    this.#recorder = options.recorder
  }

  /**
   * See `MultiMqtt.publish`. Never throws: bad input rejects.
   *
   * @param hooks those of the scope that publishes
   */
  publish (topic: string, payload: unknown, options?: PublishOptions, hooks?: PublishHooks): Promise<PublishResult> {
    return publishes.hasSubscribers ? this.#traced(topic, payload, options, hooks) : this.#send(topic, payload, options, hooks)
  }

  /** Apart from `publish`: what a closure needs is made at each call of the function around it. */
  #traced (topic: string, payload: unknown, options: PublishOptions | undefined, hooks: PublishHooks | undefined): Promise<PublishResult> {
    const { namespace, prefix } = this.#options
    const origin = { namespace, source: this.#source.threadId ?? 'main', prefix, version: this.#version } as const
    return tracedPublish(origin, { topic, payload, options }, call => this.#send(call.topic, call.payload, call.options, hooks))
  }

  #send (topic: string, payload: unknown, options: PublishOptions | undefined, hooks: PublishHooks | undefined): Promise<PublishResult> {
    try {
      const checked = options === undefined ? NONE : checkPublishOptions(options)
      if (hooks !== undefined && (hooks.active || this.#outbox.holding > 0)) return this.#attend(topic, payload, checked, hooks)
      return this.#publish(topic, payload, checked)
    } catch (error) {
      this.#outbox.counters.refused++
      return unsent(error)
    }
  }

  #publish (topic: string, payload: unknown, options: CheckedPublishOptions): Promise<PublishResult> {
    const { qos = 0, retain = false, signal } = options
    const version = this.#version()
    const name = this.#topics.encode(topic, options.absolute === true)
    const bytes = toPayload(payload)
    const properties = options.properties === undefined ? null : encodeProperties(options.properties)
    // Behind the last of the caller's code: a toJSON or a getter may abort it.
    if (signal?.aborted === true) throw aborted('publish', signal)
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

  /** There are hooks, or a hook may be publishing this. */
  #attend (topic: string, payload: unknown, options: CheckedPublishOptions, hooks: PublishHooks): Promise<PublishResult> {
    const call = currentCall()
    const publisher = waitsForItself(call, this.#source) ? this.#inner ??= this.#createInner() : this
    return hooks.active ? publisher.#hooked(topic, payload, options, hooks, call) : publisher.#publish(topic, payload, options)
  }

  #createInner (): Publisher {
    const inner = new Publisher(this.#outbox, this.#outbox.createSource('The hooks'), this.#options)
    inner.#isInner = true
    return inner
  }

  /** What is wrong is refused before hooks see it, and again behind them. */
  #hooked (topic: string, payload: unknown, options: CheckedPublishOptions, hooks: PublishHooks, call: HookCall | undefined): Promise<PublishResult> {
    const { qos = 0, retain = false, absolute = false, signal } = options
    const version = this.#version()
    const name = this.#topics.encode(topic, absolute)
    const bytes = toPayload(payload)
    const properties = options.properties === undefined ? {} : copyProperties(options.properties)
    if (signal?.aborted === true) throw aborted('publish', signal)
    const size = publishLength(name.length, payloadLength(bytes), qos, version, encodeProperties(properties))
    const refusal = this.#outbox.refusal(this.#source, qos, 1, size)
    if (refusal !== undefined) return this.#refuse(refusal)
    const { prefix } = this.#options
    const packet = new Packet(absolute || prefix === '' ? topic : `${prefix}/${topic}`, bytes, qos, retain, properties)
    const passage = hooks.begin(packet, call)
    let waiting: Promise<void> | undefined
    try {
      waiting = passage.before()
    } catch (error) {
      this.#outbox.counters.refused++
      return rejected(withMaybeSent(thrownByHook(error), false))
    }
    const promise = waiting === undefined ? this.#through(passage, options) : this.#hold(passage, waiting, size, options)
    if (passage.tells) promise.then(result => passage.after(result), noop)
    return promise
  }

  /** No hook waits for anything: it leaves as it does without hooks. */
  #through (passage: Passage, { timeout, signal }: CheckedPublishOptions): Promise<PublishResult> {
    const { packet } = passage
    if (passage.tells) packet[kKeep]()
    const { topic, options } = readPacket(packet)
    this.#options.permit?.(topic)
    return this.#publish(topic, packet[kPayload], { ...options, absolute: true, timeout, signal })
  }

  /** It keeps its place until its hooks are done. */
  #hold (passage: Passage, waiting: Promise<void>, size: number, options: CheckedPublishOptions): Promise<PublishResult> {
    // From here on the bytes are the caller's again.
    passage.packet[kKeep]()
    this.#run = undefined
    const record = this.#recorder.active ? this.#recorder.reserve() : undefined
    const promise = this.#deliver({ buffer: NO_BYTES, start: 0, end: size }, this.#version(), options.qos ?? 0, options, false, delivery => {
      passage.hold(this.#source, delivery)
      this.#outbox.hold(this.#source, delivery, this.#isInner)
      waiting.then(() => this.#release(passage, delivery, record), error => this.#outbox.abandon(delivery, thrownByHook(error)))
      // By a hook, before it first waited.
      const { signal } = options
      if (signal?.aborted === true) this.#outbox.abandon(delivery, aborted('publish', signal))
    })
    if (record !== undefined) promise.catch(() => record.drop())
    return promise
  }

  #release ({ packet }: Passage, delivery: Delivery, record: Reservation | undefined): void {
    if (delivery.state !== 'held') return
    this.#encoder ??= new PacketEncoder(this.#options)
    try {
      const frame = this.#encoder.encode(packet)
      if (!this.#outbox.release(this.#source, delivery, frame, frame.version, frame.qos)) return
    } catch (error) {
      this.#outbox.abandon(delivery, error as Error)
      return
    }
    if (record === undefined) return
    const { topic, options: { qos = 0, retain = false, properties = {} } } = readPacket(packet)
    record.note(topic, true, packet[kPayload], { qos, retain, properties })
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

  #deliver (
    frame: Frame, version: ProtocolVersion, qos: QoS, options: CheckedPublishOptions, plain: boolean, hold?: (delivery: Delivery) => void
  ): Promise<PublishResult> {
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
    if (hold === undefined) this.#outbox.add(this.#source, delivery)
    else hold(delivery)
    if (plain && delivery.state === 'queued') this.#run = { delivery, promise }
    return promise
  }

  #abortable (signal: AbortSignal, delivery: Delivery): () => void {
    const onAbort = (): void => this.#outbox.abandon(delivery, aborted('publish', signal))
    signal.addEventListener('abort', onAbort, { once: true })
    return () => signal.removeEventListener('abort', onAbort)
  }
}

function withResolvers<T> (): { promise: Promise<T>, resolve: (value: T) => void, reject: (error: Error) => void } {
  let resolve!: (value: T) => void
  let reject!: (error: Error) => void
  const promise = new Promise<T>((_resolve, _reject) => { resolve = _resolve; reject = _reject })
  return { promise, resolve, reject }
}

function noop (): void {}
