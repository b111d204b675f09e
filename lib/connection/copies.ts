import type { Covers } from './covers.ts'
import type { Subscription } from './subscription.ts'
import type { SubscriptionIds } from './subscription-ids.ts'

/**
 * A broker sends a copy of a message for each subscription that matches it, and each names its own (MQTT 5 section 3.3.4). This is what they
 * tell of what the broker has, and which of them stands for the message.
 */
export class Copies {
  readonly #subscriptions: ReadonlyMap<string, Subscription>
  readonly #ids: SubscriptionIds
  readonly #covers: Covers
  /** Those of a kept session may come for what is not answered yet, or not even asked for. */
  #inherits = false
  #places = 0

  constructor (subscriptions: ReadonlyMap<string, Subscription>, ids: SubscriptionIds, covers: Covers) {
    this.#subscriptions = subscriptions
    this.#ids = ids
    this.#covers = covers
  }

  /** CONNACK: messages of a kept session may come at once, also for what an earlier process has asked for. */
  inherit (): void {
    this.#inherits = true
    for (const subscription of this.#subscriptions.values()) if (subscription.since === undefined) subscription.inherited = true
  }

  /** The broker has answered to all: copies tell nothing more of what it has. */
  settled (): void {
    this.#inherits = false
  }

  /** The place among the grants of this session for the next one. */
  nextPlace (): number {
    return ++this.#places
  }

  /**
   * A copy has come for these identifiers; true when one of them is ours.
   *
   * @param asking some SUBSCRIBE is unanswered: a copy shows that the broker has that filter, before it says so
   */
  claim (ids: readonly number[], asking: boolean): boolean {
    if (this.#inherits || asking) this.#learn(ids)
    return ids.some(id => this.#ids.has(id))
  }

  /**
   * Of the copies that a broker sends of one message for overlapping filters, the one that stands for it where no
   * route does: that of the subscription which it has had for longest. Those that it got later have no copy of what it
   * had routed, or queued, before; what it has refused has none at all, and what has noLocal none of our own.
   */
  standsFor (topic: string, ids: readonly number[], retain: boolean): boolean {
    let first: Subscription | undefined
    for (const subscription of this.#covers.matching(topic)) {
      // What is retained comes once for each subscription that wants it, when that is made.
      if (retain && subscription.options.retainHandling === 2) continue
      if (subscription.since !== undefined && (first === undefined || isBefore(subscription, first))) first = subscription
    }
    return first === undefined || ids.includes(first.id)
  }

  #learn (ids: readonly number[]): void {
    for (const id of ids) {
      const subscription = this.#subscriptions.get(this.#ids.filterOf(id) ?? '')
      if (subscription?.status === 'pending') subscription.since ??= this.nextPlace()
    }
  }
}

function isBefore (one: Subscription, other: Subscription): boolean {
  return one.options.noLocal === other.options.noLocal ? one.since! < other.since! : other.options.noLocal
}
