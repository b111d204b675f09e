import type { IClientSubscribeOptions, MqttClient } from 'mqtt'
import { FST_MQTT_CLOSED, FST_MQTT_SUBSCRIBE_REFUSED, type MqttError } from '../errors.ts'
import { filterCovers, filterMatches, filtersOverlap, parseShare } from '../topics/filter.ts'
import { FilterTree } from '../topics/filter-tree.ts'
import type { Granted, QoS, SubscriptionStatus } from '../types.ts'
import { reasonName } from '../wire/packet.ts'
import type { ConnectInfo } from '../wire/tap.ts'
import { Subscription, type SubscriptionOptions } from './subscription.ts'
import { SubscriptionIds } from './subscription-ids.ts'

export interface SubscriptionsOptions {
  /** Milliseconds until what was refused is asked for again. */
  retry: number
}

/** Refusals that will not change: filter invalid, no shared, identified or wildcard subscriptions (MQTT 5 section 3.9.3). */
const LASTING: ReadonlySet<number> = new Set([0x8f, 0x9e, 0xa1, 0xa2])

export interface SubscriptionEvents {
  onGranted (granted: Granted): void
  onRefused (error: MqttError): void
  /** Options that the connection's version cannot carry; they are told, not silently dropped. */
  onUnsendable (filter: string, option: string): void
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
  readonly #byId = new Map<number, Subscription>()
  /** Filters that the broker still has, and nobody wants any more. */
  readonly #unwanted = new Set<string>()
  #info: ConnectInfo | undefined
  #closed = false
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

  /** True when each filter has its answer, whatever it is. */
  get settled (): boolean {
    for (const { status } of this.#byFilter.values()) if (status === 'pending') return false
    return true
  }

  find (filter: string): Subscription | undefined {
    return this.#byFilter.get(filter)
  }

  /** All that the broker was asked for: on 3.1.1, where messages do not say why they came. */
  * [Symbol.iterator] (): IterableIterator<Subscription> {
    yield * this.#byFilter.values()
  }

  /** Wants a filter for an owner. Subscribes now when connected, else at the next connection. */
  acquire (filter: string, owner: object, options: SubscriptionOptions): Subscription {
    let subscription = this.#byFilter.get(filter)
    if (subscription === undefined) {
      subscription = new Subscription(filter, this.#ids.allocate(filter), options)
      subscription.acquire(owner, options)
      this.#byFilter.set(filter, subscription)
      this.#byId.set(subscription.id, subscription)
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
    this.#byId.delete(id)
    this.#ids.release(id)
    const known = subscription.sent !== undefined
    // What it covered has to come by itself now, before it goes.
    this.#converge()
    if (known && !this.#closed) {
      this.#unwanted.add(filter)
      await this.#unsubscribe(filter)
    }
  }

  /** A connection is up. Without the old session the broker has forgotten all of it. */
  attach (info: ConnectInfo): void {
    this.#info = info
    for (const subscription of this.#byFilter.values()) {
      if (info.sessionPresent && subscription.granted !== undefined) subscription.grant(subscription.granted)
      else subscription.forget()
    }
    if (info.sessionPresent) for (const filter of this.#unwanted) void this.#unsubscribe(filter)
    else this.#unwanted.clear()
    this.#converge()
  }

  detach (): void {
    this.#info = undefined
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
    if (!info.subscriptionIdentifiers) this.#cover()
    for (const subscription of this.#byFilter.values()) {
      if (subscription.coveredBy !== undefined) this.#follow(subscription)
      else if (subscription.stale) this.#subscribe(subscription, info)
    }
  }

  /**
   * Where messages do not tell their subscription, a filter that another covers is not subscribed, or a broker that
   * sends one copy for each would have handlers run twice. Filters that merely overlap cannot be told apart.
   */
  #cover (): void {
    const tree = new FilterTree<Subscription>()
    const plain = [...this.#byFilter.values()].filter(({ filter }) => parseShare(filter) === null)
    for (const subscription of plain) tree.add(subscription.filter, subscription)
    for (const subscription of this.#byFilter.values()) {
      subscription.coveredBy = undefined
      subscription.unraise()
    }
    for (const subscription of plain) {
      for (const other of tree.meeting(subscription.filter)) {
        if (covers(other, subscription)) subscription.coveredBy = other
        else if (other !== subscription && !covers(subscription, other) && filtersOverlap(other.filter, subscription.filter)) {
          this.#events.onOverlap(...[subscription.filter, other.filter].sort() as [string, string])
        }
      }
    }
    for (const subscription of plain) {
      // The cover of a cover is the one that is subscribed.
      while (subscription.coveredBy?.coveredBy !== undefined) subscription.coveredBy = subscription.coveredBy.coveredBy
      subscription.coveredBy?.raise(subscription.options.qos)
    }
  }

  #follow (subscription: Subscription): void {
    const cover = subscription.coveredBy!
    if (subscription.status !== 'pending' && subscription.sent === undefined) return
    cover.answered().then(
      ({ qos }) => {
        if (subscription.coveredBy !== cover) return
        subscription.grant(qos)
        // It was subscribed by itself until a wider filter came.
        if (subscription.sent === undefined) return
        subscription.sent = undefined
        this.#client.unsubscribe(subscription.filter)
      },
      (error: MqttError) => { if (subscription.coveredBy === cover) subscription.refuse(error) }
    )
  }

  #subscribe (subscription: Subscription, info: ConnectInfo): void {
    const { filter, id } = subscription
    const options = subscription.options
    subscription.sent = options
    subscription.status = 'pending'
    if (info.version < 5) this.#warnUnsendable(filter, options)
    this.#client.subscribe(filter, packetOptions(options, info, id), (error, _granted, packet) => {
      // An answer from an earlier connection, or to what has been changed since, says nothing.
      if (this.#info !== info || subscription.sent !== options) return
      if (error === null) {
        const qos = (packet?.granted as number[] | undefined)?.[0] as QoS | undefined ?? options.qos
        subscription.grant(qos)
        this.#events.onGranted({ filter, qos })
        return
      }
      const refusal = refused(filter, error as Error & { packet?: { granted?: number[] } })
      // Without a code the connection is gone; the next one sends it again.
      if (refusal === undefined) {
        subscription.sent = undefined
        return
      }
      subscription.refuse(refusal)
      this.#events.onRefused(refusal)
      if (!LASTING.has(refusal.reasonCode!)) this.#retryLater()
    })
  }

  /** Permissions and quotas change: what was refused is asked for again, rarely. */
  #retryLater (): void {
    if (this.#retry !== undefined) return
    this.#retry = setTimeout(() => {
      this.#retry = undefined
      for (const subscription of this.#byFilter.values()) {
        if (subscription.status === 'refused' && !LASTING.has(subscription.error?.reasonCode ?? 0)) subscription.forget()
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
    return new Promise(resolve => {
      this.#client.unsubscribe(filter, error => {
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

/** Of two filters that match the same topics (`#` and `+/#`), one covers the other and not both each other. */
function covers (wide: Subscription, narrow: Subscription): boolean {
  if (wide === narrow || !filterCovers(wide.filter, narrow.filter)) return false
  return !filterCovers(narrow.filter, wide.filter) || wide.id < narrow.id
}

function refused (filter: string, cause: Error & { packet?: { granted?: number[] } }): MqttError | undefined {
  const code = cause.packet?.granted?.[0]
  if (code === undefined || code < 0x80) return undefined
  const error = FST_MQTT_SUBSCRIBE_REFUSED(`The broker refused the subscription to "${filter}": ${reasonName(code)}`) as MqttError
  error.reasonCode = code
  return error
}
