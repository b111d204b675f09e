import type { MqttClient } from 'mqtt'
import { FST_MQTT_CLOSED, type MqttError } from '../errors.ts'
import { Fifo } from '../fifo.ts'
import { Suspects } from '../suspects.ts'
import type { Granted, QoS, SubscriptionStatus } from '../types/index.ts'
import type { ConnectInfo } from '../wire/tap.ts'
import { Copies } from './copies.ts'
import { Covers } from './covers.ts'
import { hangsUp, isLasting, refused, subscribeOptions, tooLarge, unsendable } from './subscribe.ts'
import { Subscription, type SubscriptionOptions } from './subscription.ts'
import { SubscriptionIds } from './subscription-ids.ts'
import { Unwanted, type Leaving } from './unwanted.ts'

export interface SubscriptionsOptions {
  /** Milliseconds until what was refused, or hung up on, is asked for again. */
  retry: number
  /** There never is a connection: everything counts as granted (option `connect: false`). */
  pretend?: boolean
}

/** SUBSCRIBE packets that may wait for their answer at once. */
const UNANSWERED = 1_000

export interface SubscriptionEvents {
  onGranted (granted: Granted): void
  /** The broker's answer to one stands for another too, which it covers. */
  onCovered (): void
  onRefused (error: MqttError): void
  /** Options that the connection's version cannot carry; they are told, not silently dropped. */
  onUnsendable (filter: string, option: string): void
  /** Answers of the broker begin or cease to be awaited. */
  onAwaiting (): void
  /** `probing` has ended, or there was none. */
  onUnsuspected (): void
  /** The broker has answered an UNSUBSCRIBE. */
  onUnsubscribed (filter: string): void
  /** The connection ends each time that UNSUBSCRIBE is sent, so the broker still has it; it is asked again, rarely. */
  onKept (filter: string): void
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
  readonly #covers: Covers
  readonly #copies: Copies
  readonly #suspects = new Suspects<Subscription>(() => this.#sendQueued())
  /** SUBSCRIBE was sent for these, and not yet answered. */
  readonly #asked = new Set<Subscription>()
  readonly #unwanted: Unwanted
  /** What is to be asked for on this connection. */
  #queue = new Fifo<Subscription>()
  #info: ConnectInfo | undefined
  #closed = false
  #unanswered = 0
  #converging = false
  #retry: NodeJS.Timeout | undefined

  constructor (client: MqttClient, options: SubscriptionsOptions, events: SubscriptionEvents) {
    this.#client = client
    this.#options = options
    this.#events = events
    this.#unwanted = new Unwanted(options.retry)
    this.#covers = new Covers((one, other) => events.onOverlap(one, other))
    this.#copies = new Copies(this.#byFilter, this.#ids, this.#covers)
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

  /** A copy has come for these identifiers; true when one of them is ours. */
  claim (ids: readonly number[]): boolean {
    return this.#copies.claim(ids, this.#unanswered > 0)
  }

  /** True while SUBSCRIBEs go a few at a time, to find the one that the broker hangs up on. */
  get probing (): boolean {
    return this.#suspects.allowance < Infinity
  }

  /** Wants a filter for an owner. Subscribes now when connected, else at the next connection. */
  acquire (filter: string, owner: object, options: SubscriptionOptions): Subscription {
    let subscription = this.#byFilter.get(filter)
    if (subscription === undefined) {
      subscription = new Subscription(filter, this.#ids.allocate(filter), options)
      subscription.acquire(owner, options)
      this.#byFilter.set(filter, subscription)
      this.#covers.add(subscription)
    } else {
      subscription.acquire(owner, options)
      this.#covers.changed(subscription)
    }
    if (this.#closed) subscription.end(closed())
    else if (this.#options.pretend === true) subscription.grant(subscription.options.qos)
    if (this.#unwanted.stay(filter)) subscription.known = true
    this.#scheduleConverge()
    return subscription
  }

  /** An owner does not want a filter any more; the last one's going unsubscribes it. Resolves when the broker has answered. */
  async release (subscription: Subscription, owner: object): Promise<void> {
    subscription.release(owner)
    if (subscription.wanted) {
      this.#covers.changed(subscription)
      return
    }
    const { filter, id } = subscription
    subscription.end(FST_MQTT_CLOSED(`The subscription to "${filter}" was taken back`))
    if (this.#byFilter.get(filter) !== subscription) return
    this.#byFilter.delete(filter)
    this.#ids.release(id)
    this.#suspects.forget(subscription)
    this.#covers.remove(subscription)
    this.#scheduleConverge()
    if (subscription.known && !this.#closed) await this.#leave(subscription)
  }

  /** CONNACK, and the session was kept: its messages may come before `attach`. */
  inherit (): void {
    this.#copies.inherit()
  }

  /**
   * A connection is up. Without the old session the broker has forgotten all of it. With it, all is asked for again too: a broker
   * that was killed comes back with the session as it was last saved, which is not to be seen. Not so on 3.1.1, where each
   * SUBSCRIBE brings all retained messages again.
   */
  attach (info: ConnectInfo): void {
    this.#info = info
    this.#suspects.attached()
    for (const subscription of this.#byFilter.values()) {
      if (!info.sessionPresent) subscription.forget()
      if (subscription.shunnedUntil > performance.now()) {
        // One more connection would be lost over it.
        subscription.passOver()
        continue
      }
      if (info.sessionPresent) subscription.resume(info.version === 5)
      else subscription.again()
    }
    if (!info.sessionPresent) {
      this.#unwanted.clear()
      this.#ids.forget()
    }
    this.#covers.assign(this.#byFilter.values(), !info.subscriptionIdentifiers)
    this.#converge()
  }

  /** The connection is gone; `hungUp` when it was not us who ended it. Returns true when it may have been over SUBSCRIBE or UNSUBSCRIBE. */
  detach (hungUp = false, redelivered = 0): boolean {
    const unanswered = [...this.#asked]
    const leaving = this.#unwanted.asking
    this.#asked.clear()
    this.#info = undefined
    this.#suspects.detached()
    for (const subscription of this.#byFilter.values()) subscription.suspend()
    this.#forgetUnanswered()
    for (const filter of this.#unwanted.detach(hungUp)) this.#events.onKept(filter)
    if (this.#unwanted.resting) this.#retryLater()
    const culprit = hungUp ? this.#suspects.accuse(unanswered, redelivered) : undefined
    if (culprit !== undefined) {
      const error = hangsUp(culprit.filter)
      culprit.shun(error, this.#options.retry)
      this.#events.onRefused(error)
      this.#retryLater()
    }
    return unanswered.length > 0 || leaving
  }

  close (): void {
    this.#closed = true
    this.#info = undefined
    clearTimeout(this.#retry)
    for (const subscription of this.#byFilter.values()) subscription.end(closed())
    this.#unwanted.close()
    this.#forgetUnanswered()
  }

  /** Of the copies of one message, whether that for these identifiers stands for it where no route does. */
  standsFor (topic: string, ids: readonly number[], retain: boolean): boolean {
    return this.#copies.standsFor(topic, ids, retain)
  }

  /** Once for all the routes that come and go in a turn. */
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
    if (this.#info === undefined || this.#closed) return
    const stale: Subscription[] = []
    for (const subscription of this.#byFilter.values()) {
      if (subscription.coveredBy !== undefined) {
        this.#tellUnsendable(subscription, this.#info)
        this.#follow(subscription)
      } else if (subscription.stale) stale.push(subscription)
    }
    // The one that the broker has hung up on most often goes first, where it can be told apart.
    if (this.probing) stale.sort((a, b) => b.tries - a.tries)
    this.#queue = new Fifo(stale)
    this.#sendQueued()
  }

  /**
   * A few at a time: beyond its packet identifiers mqtt.js gets slow, and a broker is not fond of a flood either. Nothing
   * is unsubscribed before what it covered comes by itself.
   */
  #sendQueued (): void {
    const info = this.#info
    if (info === undefined) return
    const most = Math.min(this.#suspects.allowance, UNANSWERED)
    while (this.#unanswered < most) {
      const subscription = this.#queue.shift()
      if (subscription === undefined) break
      const current = this.#byFilter.get(subscription.filter) === subscription
      if (current && subscription.stale && subscription.coveredBy === undefined) this.#subscribe(subscription, info)
    }
    if (this.#queue.length === 0) this.#sendUnwanted(most, info)
    if (this.#queue.length === 0 && this.#unanswered === 0) {
      this.#copies.settled()
      this.#suspects.relax()
    }
    if (!this.probing) this.#events.onUnsuspected()
  }

  #sendUnwanted (most: number, info: ConnectInfo): void {
    while (this.#unanswered < most) {
      const leaving = this.#unwanted.ask(this.#unanswered)
      if (leaving === undefined) return
      this.#unsubscribe(leaving, info)
    }
  }

  #follow (subscription: Subscription): void {
    const cover = subscription.coveredBy!
    if (subscription.status !== 'pending' && !subscription.known) return
    cover.answered().then(
      ({ qos }) => {
        if (subscription.coveredBy !== cover) return
        subscription.grant(qos)
        this.#events.onCovered()
        // It was subscribed by itself until a wider filter came.
        if (!subscription.known) return
        subscription.unsubscribed()
        void this.#leave(subscription)
        this.#sendQueued()
      },
      // Refused or taken back: it covers nothing.
      () => { if (subscription.coveredBy === cover) this.#scheduleConverge() }
    )
  }

  #subscribe (subscription: Subscription, info: ConnectInfo): void {
    const { filter, id } = subscription
    this.#unwanted.stay(filter)
    const unfit = tooLarge(filter, info, id)
    if (unfit !== undefined) {
      subscription.withhold()
      this.#refuse(subscription, unfit)
      return
    }
    const { renewal } = subscription
    const options = subscription.send()
    this.#tellUnsendable(subscription, info)
    const answered = this.#await(info)
    this.#asked.add(subscription)
    this.#client.subscribe(filter, subscribeOptions(options, info, id, renewal), (error, _granted, packet) => {
      const refusal = error === null ? undefined : refused(filter, error)
      // Without a code the connection is gone; the next one sends it again.
      const lost = error !== null && refusal === undefined
      if (!lost && this.#info === info) {
        this.#asked.delete(subscription)
        this.#suspects.acquit(subscription, refusal !== undefined)
      }
      answered(lost)
      // An answer from an earlier connection, or to what has been changed since, says nothing.
      if (lost || this.#info !== info || !subscription.isLatest(options)) return
      if (refusal === undefined) {
        const qos = (packet?.granted as number[] | undefined)?.[0] as QoS | undefined ?? options.qos
        subscription.answer(qos, this.#copies.nextPlace())
        this.#events.onGranted({ filter, qos })
        return
      }
      this.#refuse(subscription, refusal)
    })
  }

  #refuse (subscription: Subscription, refusal: MqttError): void {
    subscription.refuse(refusal)
    this.#events.onRefused(refusal)
    // What it would have covered comes by itself.
    this.#covers.uncover(subscription)
    this.#scheduleConverge()
    if (!isLasting(refusal)) this.#retryLater()
  }

  #tellUnsendable ({ filter, options }: Subscription, { version }: ConnectInfo): void {
    if (version < 5) for (const option of unsendable(options)) this.#events.onUnsendable(filter, option)
  }

  /** A packet is sent whose answer is awaited; returns what to call when it has come, or is `lost` with the connection. */
  #await (info: ConnectInfo): (lost: boolean) => void {
    if (this.#unanswered++ === 0) this.#events.onAwaiting()
    return lost => {
      if (this.#info !== info) return
      if (--this.#unanswered === 0) this.#events.onAwaiting()
      // mqtt.js may tell this before it tells that the connection is gone, and what goes into that is never answered.
      if (!lost) this.#sendQueued()
    }
  }

  /** Nothing of what was sent is answered any more. */
  #forgetUnanswered (): void {
    if (this.#unanswered === 0) return
    this.#unanswered = 0
    this.#events.onAwaiting()
  }

  /** Permissions and quotas change: what was refused is asked for again, rarely. */
  #retryLater (): void {
    if (this.#retry !== undefined || this.#closed) return
    this.#retry = setTimeout(() => {
      this.#retry = undefined
      const info = this.#info
      // What is due sooner than the next time.
      const now = performance.now() + this.#options.retry / 2
      for (const subscription of this.#byFilter.values()) {
        if (subscription.status !== 'refused' || isLasting(subscription.error)) continue
        if (subscription.shunnedUntil > now) this.#retryLater()
        else subscription.again()
      }
      this.#unwanted.resume(now)
      if (this.#unwanted.resting) this.#retryLater()
      if (info === undefined) return
      this.#covers.assign(this.#byFilter.values(), !info.subscriptionIdentifiers)
      this.#converge()
    }, this.#options.retry).unref()
  }

  /** The broker has a filter that nobody wants; resolves when it is gone, or the connection is. */
  #leave ({ filter, shunnedUntil }: Subscription): Promise<void> {
    return this.#unwanted.leave(filter, shunnedUntil > 0, this.#info !== undefined)
  }

  #unsubscribe (leaving: Leaving, info: ConnectInfo): void {
    const answered = this.#await(info)
    this.#client.unsubscribe(leaving.filter, error => {
      const lost = error != null
      if (!lost && this.#info === info && this.#unwanted.left(leaving)) this.#events.onUnsubscribed(leaving.filter)
      leaving.done()
      answered(lost)
    })
  }
}

function closed (): MqttError {
  return FST_MQTT_CLOSED('The application has closed before the broker answered the subscription') as MqttError
}
