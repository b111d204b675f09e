import { filterCovers, filtersOverlap, parseShare } from '../topics/filter.ts'
import { FilterTree } from '../topics/filter-tree.ts'
import type { Subscription } from './subscription.ts'

/**
 * Where messages do not tell their subscription (MQTT 3.1.1), a filter that another covers is not subscribed, or a broker
 * that sends one copy for each would have handlers run twice. Filters that merely overlap cannot be told apart: `onOverlap`.
 * Shared filters are left alone: theirs is another copy.
 */
export function assignCovers (subscriptions: Iterable<Subscription>, onOverlap: (one: string, other: string) => void): void {
  const tree = new FilterTree<Subscription>()
  const plain: Subscription[] = []
  for (const subscription of subscriptions) {
    subscription.coveredBy = undefined
    subscription.unraise()
    if (parseShare(subscription.filter) !== null) continue
    plain.push(subscription)
    tree.add(subscription.filter, subscription)
  }
  for (const subscription of plain) {
    for (const other of tree.meeting(subscription.filter)) {
      if (covers(other, subscription)) {
        // One that the broker refused brings nothing.
        if (other.status !== 'refused') subscription.coveredBy = other
      } else if (other !== subscription && !covers(subscription, other) && filtersOverlap(other.filter, subscription.filter)) {
        const [one, two] = [subscription.filter, other.filter].sort()
        onOverlap(one!, two!)
      }
    }
  }
  for (const subscription of plain) {
    // The cover of a cover is the one that is subscribed.
    while (subscription.coveredBy?.coveredBy !== undefined) subscription.coveredBy = subscription.coveredBy.coveredBy
    subscription.coveredBy?.raise(subscription.options.qos)
  }
}

/** Of two filters that match the same topics (`#` and `+/#`), one covers the other and not both each other. */
function covers (wide: Subscription, narrow: Subscription): boolean {
  if (wide === narrow || !filterCovers(wide.filter, narrow.filter)) return false
  return !filterCovers(narrow.filter, wide.filter) || wide.id < narrow.id
}
