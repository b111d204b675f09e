import { filterCovers, filterMatches, filtersOverlap, parseShare } from '../topics/filter.ts'
import { FilterTree } from '../topics/filter-tree.ts'
import type { Subscription } from './subscription.ts'

/**
 * Where messages do not tell their subscription (MQTT 3.1.1), a filter that another covers is not subscribed, or a broker
 * that sends one copy for each would have handlers run twice. Filters that merely overlap cannot be told apart: `onOverlap`.
 * Shared filters are left alone: theirs is another copy, which cannot be told from that of a plain one either.
 */
export class Covers {
  readonly #tree = new FilterTree<Subscription>()
  /** Shared ones, by the filter inside. */
  readonly #shared = new FilterTree<Subscription>()
  readonly #onOverlap: (one: string, other: string) => void
  /** Pairs to be told, when all that is declared in this turn has its place. */
  #overlaps: Array<[Subscription, Subscription]> = []
  #active = false

  constructor (onOverlap: (one: string, other: string) => void) {
    this.#onOverlap = onOverlap
  }

  /** Finds all covers anew, or lifts them where messages tell their subscription. */
  assign (subscriptions: Iterable<Subscription>, active: boolean): void {
    if (!active && !this.#active) return
    this.#active = active
    const plain = [...subscriptions].filter(isPlain)
    for (const subscription of plain) {
      subscription.coveredBy = undefined
      subscription.unraise()
    }
    if (!active) return
    for (const subscription of plain) this.#place(subscription)
    for (const subscription of subscriptions) if (!isPlain(subscription)) this.#meet(subscription, this.#tree)
  }

  add (subscription: Subscription): void {
    const plain = isPlain(subscription)
    ;(plain ? this.#tree : this.#shared).add(inner(subscription), subscription)
    if (!this.#active) return
    if (plain) this.#place(subscription)
    this.#meet(subscription, plain ? this.#shared : this.#tree)
  }

  /** Nobody wants it any more: what it covered has to come by itself, or by another. */
  remove (subscription: Subscription): void {
    if (!isPlain(subscription)) {
      this.#shared.remove(inner(subscription), subscription)
      return
    }
    this.#tree.remove(subscription.filter, subscription)
    const { coveredBy } = subscription
    subscription.coveredBy = undefined
    if (coveredBy !== undefined) this.#weigh(coveredBy)
    this.uncover(subscription)
  }

  /** It brings nothing, since the broker has refused it. */
  uncover (subscription: Subscription): void {
    const covered = this.#coveredBy(subscription)
    for (const other of covered) other.coveredBy = undefined
    for (const other of covered) this.#place(other)
  }

  /** The QoS of one has changed. */
  changed (subscription: Subscription): void {
    if (!this.#active) return
    // One that was refused has covered nothing since.
    if (isPlain(subscription) && subscription.coveredBy === undefined) this.#place(subscription)
    else this.#weigh(subscription.coveredBy ?? subscription)
  }

  /** The subscriptions whose filters match the topic. */
  * matching (topic: string): Iterable<Subscription> {
    for (const subscription of this.#tree.meeting(topic)) if (filterMatches(subscription.filter, topic)) yield subscription
  }

  /** Finds what covers it, and what it covers. A cover is itself covered by nothing. */
  #place (subscription: Subscription): void {
    let cover: Subscription | undefined
    const narrower = new Set<Subscription>()
    for (const other of this.#tree.meeting(subscription.filter)) {
      if (other === subscription) continue
      if (covers(other, subscription)) {
        if (other.status !== 'refused' && other.coveredBy === undefined) cover = other
      } else if (covers(subscription, other)) {
        narrower.add(other)
      } else if (filtersOverlap(other.filter, subscription.filter)) {
        this.#tell(subscription, other)
      }
    }
    subscription.coveredBy = cover
    if (subscription.status === 'refused') return
    const top = cover ?? subscription
    for (const other of narrower) {
      // One that another brings stays with it, unless that is brought by this one now.
      if (other.coveredBy !== undefined && !narrower.has(other.coveredBy)) continue
      other.coveredBy = top
      other.unraise()
    }
    this.#weigh(top)
  }

  /** Tells of those of the other kind that have a topic in common with this one. */
  #meet (subscription: Subscription, others: FilterTree<Subscription>): void {
    for (const other of others.meeting(inner(subscription))) {
      if (filtersOverlap(other.filter, subscription.filter)) this.#tell(subscription, other)
    }
  }

  /** Of two that a third brings the messages of, neither is subscribed, so nothing comes twice. */
  #tell (one: Subscription, other: Subscription): void {
    this.#overlaps.push([one, other])
    if (this.#overlaps.length > 1) return
    queueMicrotask(() => {
      for (const pair of this.#overlaps.splice(0)) {
        if (!this.#active || pair.some(({ wanted, coveredBy }) => !wanted || coveredBy !== undefined)) continue
        const [first, second] = pair.map(({ filter }) => filter).sort()
        this.#onOverlap(first!, second!)
      }
    })
  }

  /** A cover asks for the highest QoS of all that it stands for. */
  #weigh (cover: Subscription): void {
    cover.unraise()
    for (const other of this.#coveredBy(cover)) cover.raise(other.options.qos)
  }

  #coveredBy (cover: Subscription): Subscription[] {
    if (!this.#active) return []
    return [...this.#tree.meeting(cover.filter)].filter(({ coveredBy }) => coveredBy === cover)
  }
}

function isPlain ({ filter }: Subscription): boolean {
  return parseShare(filter) === null
}

/** What it subscribes to, without the group. */
function inner ({ filter }: Subscription): string {
  return parseShare(filter)?.filter ?? filter
}

/** Of two filters that match the same topics (`#` and `+/#`), one covers the other and not both each other. */
function covers (wide: Subscription, narrow: Subscription): boolean {
  if (!filterCovers(wide.filter, narrow.filter)) return false
  return !filterCovers(narrow.filter, wide.filter) || wide.id < narrow.id
}
