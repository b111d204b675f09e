import type { IClientSubscribeOptions, MqttClient } from 'mqtt'
import { FST_MQTT_CLOSED, FST_MQTT_SUBSCRIBE_REFUSED, type MqttError } from '../errors.ts'
import { Fifo } from '../fifo.ts'
import { filterMatches, parseShare } from '../topics/filter.ts'
import type { Granted, QoS, SubscriptionStatus } from '../types.ts'
import { reasonName } from '../wire/packet.ts'
import type { ConnectInfo } from '../wire/tap.ts'
import { assignCovers } from './covers.ts'
import { Subscription, type SubscriptionOptions } from './subscription.ts'
import { SubscriptionIds } from './subscription-ids.ts'

export interface SubscriptionsOptions {
  /** Milliseconds until what was refused is asked for again. */
  retry: number
}

/** Refusals that will not change: filter invalid, no shared, identified or wildcard subscriptions (MQTT 5 section 3.9.3). */
const LASTING: ReadonlySet<number> = new Set([0x8f, 0x9e, 0xa1, 0xa2])

/** SUBSCRIBE packets that may wait for their answer at once. */
const UNANSWERED = 1_000

export interface SubscriptionEvents {
  onGranted (granted: Granted): void
  onRefused (error: MqttError): void
  /** Options that the connection's version cannot carry; they are told, not silently dropped. */
  onUnsendable (filter: string, option: string): void
  /** Answers of the broker begin or cease to be awaited. */
  onAwaiting (): void
  /** Two filters that some brokers send a copy each for, and nothing tells the copies apart (MQTT 3.1.1). */
  onOverlap (one: string, other: string): void
}

/**
 * The ledger of subscriptions: what the application wants, what the broker has answered to each filter, and the
 * SUBSCRIBE and UNSUBSCRIBE packets that bring the second to the first. One filter per packet, so that a refusal
 * concerns nobody else; nothing is sent offline, so nothing gets lost there.
 */
export class Subscriptions {
  readonly #client: MqttClient
  readonly #options: SubscriptionsOptions
  readonly #events: SubscriptionEvents
  readonly #ids = new SubscriptionIds()
  readonly #byFilter = new Map<string, Subscription>()
  /** Filters that the broker still has, and nobody wants any more. */
  readonly #unwanted = new Set<string>()
  /** What is to be asked for on this connection. */
  #queue = new Fifo<Subscription>()
  #info: ConnectInfo | undefined
  #closed = false
  #unanswered = 0
  #interrupted = false
  #converging = false
  #retry: NodeJS.Timeout | undefined

  constructor (client: MqttClient, options: SubscriptionsOptions, events: SubscriptionEvents) {
    this.#client = client
    this.#options = options
    this.#events = events
  }

  /** Every filter in its state, in the order first asked for. */
  get status (): SubscriptionStatus[] {
    return [...this.#byFilter.values()].map(subscription => subscription.toJSON())
  }

  /** True while the broker owes an answer. */
  get awaiting (): boolean {
    return this.#unanswered > 0
  }

  /** True when each filter has its answer, whatever it is. */
  get settled (): boolean {
    for (const { status } of this.#byFilter.values()) if (status === 'pending') return false
    return true
  }

  /** True when one of these identifiers is of a filter that is wanted now. */
  knows (ids: readonly number[]): boolean {
    return ids.some(id => this.#ids.has(id))
  }

  /** The connection ended while a SUBSCRIBE was unanswered. */
  get interrupted (): boolean {
    return this.#interrupted
  }

  /** Wants a filter for an owner. Subscribes now when connected, else at the next connection. */
  acquire (filter: string, owner: object, options: SubscriptionOptions): Subscription {
    let subscription = this.#byFilter.get(filter)
    if (subscription === undefined) {
      subscription = new Subscription(filter, this.#ids.allocate(filter), options)
      subscription.acquire(owner, options)
      this.#byFilter.set(filter, subscription)
    } else {
      subscription.acquire(owner, options)
    }
    if (this.#closed) subscription.end(closed())
    this.#unwanted.delete(filter)
    this.#scheduleConverge()
    return subscription
  }

  /** An owner does not want a filter any more; the last one's going unsubscribes it. */
  async release (subscription: Subscription, owner: object): Promise<void> {
    subscription.release(owner)
    if (subscription.wanted) return
    const { filter, id } = subscription
    subscription.end(FST_MQTT_CLOSED(`The subscription to "${filter}" was taken back`))
    if (this.#byFilter.get(filter) !== subscription) return
    this.#byFilter.delete(filter)
    this.#ids.release(id)
    // What it covered has to come by itself now, before it goes.
    if ([...this.#byFilter.values()].some(({ coveredBy }) => coveredBy === subscription)) this.#converge()
    if (subscription.known && !this.#closed) {
      this.#unwanted.add(filter)
      await this.#unsubscribe(filter)
    }
  }

  /** A connection is up. Without the old session the broker has forgotten all of it. */
  attach (info: ConnectInfo): void {
    this.#info = info
    for (const subscription of this.#byFilter.values()) {
      if (info.sessionPresent) subscription.resume()
      else subscription.forget()
    }
    if (info.sessionPresent) for (const filter of this.#unwanted) void this.#unsubscribe(filter)
    else this.#unwanted.clear()
    this.#converge()
  }

  detach (): void {
    this.#info = undefined
    this.#interrupted = false
    for (const subscription of this.#byFilter.values()) subscription.suspend()
  }

  close (): void {
    this.#closed = true
    this.#info = undefined
    clearTimeout(this.#retry)
    for (const subscription of this.#byFilter.values()) {
      subscription.end(closed())
    }
  }

  /**
   * Of the copies that a broker sends of one message for overlapping filters, the one that stands for it where no
   * route does: that of the subscription with the lowest identifier.
   */
  standsFor (topic: string, ids: readonly number[]): boolean {
    let lowest = Infinity
    for (const { id, filter } of this.#byFilter.values()) {
      if (id < lowest && parseShare(filter) === null && filterMatches(filter, topic)) lowest = id
    }
    return lowest === Infinity || ids.includes(lowest)
  }

  /** Once for all the routes that are declared in a turn. */
  #scheduleConverge (): void {
    if (this.#converging || this.#info === undefined) return
    this.#converging = true
    queueMicrotask(() => {
      this.#converging = false
      this.#converge()
    })
  }

  /** Sends whatever is not yet what is wanted. */
  #converge (): void {
    const info = this.#info
    if (info === undefined || this.#closed) return
    if (!info.subscriptionIdentifiers) assignCovers(this.#byFilter.values(), (one, other) => this.#events.onOverlap(one, other))
    this.#queue = new Fifo()
    for (const subscription of this.#byFilter.values()) {
      if (subscription.coveredBy !== undefined) this.#follow(subscription)
      else if (subscription.stale) this.#queue.push(subscription)
    }
    this.#sendQueued()
  }

  /** A few at a time: beyond its packet identifiers mqtt.js gets slow, and a broker is not fond of a flood either. */
  #sendQueued (): void {
    const info = this.#info
    if (info === undefined) return
    while (this.#unanswered < UNANSWERED) {
      const subscription = this.#queue.shift()
      if (subscription === undefined) return
      const current = this.#byFilter.get(subscription.filter) === subscription
      if (current && subscription.stale && subscription.coveredBy === undefined) this.#subscribe(subscription, info)
    }
  }

  #follow (subscription: Subscription): void {
    const cover = subscription.coveredBy!
    if (subscription.status !== 'pending' && !subscription.known) return
    cover.answered().then(
      ({ qos }) => {
        if (subscription.coveredBy !== cover) return
        subscription.grant(qos)
        // It was subscribed by itself until a wider filter came.
        if (!subscription.known) return
        subscription.unsubscribed()
        void this.#unsubscribe(subscription.filter)
      },
      // Refused or taken back: it covers nothing.
      () => { if (subscription.coveredBy === cover) this.#scheduleConverge() }
    )
  }

  #subscribe (subscription: Subscription, info: ConnectInfo): void {
    const { filter, id } = subscription
    const options = subscription.send()
    if (info.version < 5) this.#warnUnsendable(filter, options)
    const answered = this.#await()
    this.#client.subscribe(filter, packetOptions(options, info, id), (error, _granted, packet) => {
      answered()
      // An answer from an earlier connection, or to what has been changed since, says nothing.
      if (this.#info !== info || !subscription.isLatest(options)) return
      if (error === null) {
        const qos = (packet?.granted as number[] | undefined)?.[0] as QoS | undefined ?? options.qos
        subscription.answer(qos)
        this.#events.onGranted({ filter, qos })
        return
      }
      const refusal = refused(filter, error as Error & { packet?: { granted?: number[] } })
      // Without a code the connection is gone; the next one sends it again.
      if (refusal === undefined) {
        this.#interrupted = true
        return
      }
      subscription.refuse(refusal)
      this.#events.onRefused(refusal)
      // What it would have covered comes by itself.
      this.#scheduleConverge()
      if (!LASTING.has(refusal.reasonCode!)) this.#retryLater()
    })
  }

  /** A packet is sent whose answer is awaited; returns what to call when it has come, or never will. */
  #await (): () => void {
    if (this.#unanswered++ === 0) this.#events.onAwaiting()
    return () => {
      if (--this.#unanswered === 0) this.#events.onAwaiting()
      this.#sendQueued()
    }
  }

  /** Permissions and quotas change: what was refused is asked for again, rarely. */
  #retryLater (): void {
    if (this.#retry !== undefined) return
    this.#retry = setTimeout(() => {
      this.#retry = undefined
      for (const subscription of this.#byFilter.values()) {
        if (subscription.status === 'refused' && !LASTING.has(subscription.error?.reasonCode ?? 0)) subscription.again()
      }
      this.#converge()
    }, this.#options.retry).unref()
  }

  #warnUnsendable (filter: string, options: SubscriptionOptions): void {
    if (options.noLocal) this.#events.onUnsendable(filter, 'noLocal')
    if (options.retainAsPublished) this.#events.onUnsendable(filter, 'retainAsPublished')
    if (options.retainHandling !== 0) this.#events.onUnsendable(filter, 'retainHandling')
  }

  #unsubscribe (filter: string): Promise<void> {
    const info = this.#info
    if (info === undefined) return Promise.resolve()
    const answered = this.#await()
    return new Promise(resolve => {
      this.#client.unsubscribe(filter, error => {
        answered()
        if (error == null && this.#info === info && !this.#byFilter.has(filter)) this.#unwanted.delete(filter)
        resolve()
      })
    })
  }
}

function packetOptions (options: SubscriptionOptions, info: ConnectInfo, id: number): IClientSubscribeOptions {
  if (info.version < 5) return { qos: options.qos }
  return {
    qos: options.qos,
    nl: options.noLocal,
    rap: options.retainAsPublished,
    rh: options.retainHandling,
    ...(info.subscriptionIdentifiers && { properties: { subscriptionIdentifier: id } })
  } as IClientSubscribeOptions
}

function closed (): MqttError {
  return FST_MQTT_CLOSED('The application has closed before the broker answered the subscription') as MqttError
}

function refused (filter: string, cause: Error & { packet?: { granted?: number[] } }): MqttError | undefined {
  const code = cause.packet?.granted?.[0]
  if (code === undefined || code < 0x80) return undefined
  const error = FST_MQTT_SUBSCRIBE_REFUSED(`The broker refused the subscription to "${filter}": ${reasonName(code)}`) as MqttError
  error.reasonCode = code
  return error
}
