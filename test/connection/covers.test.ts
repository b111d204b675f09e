import fc from 'fast-check'
import t from 'tap'
import { FST_MQTT_SUBSCRIBE_REFUSED, type MqttError } from '../../lib/errors.ts'
import { Covers } from '../../lib/connection/covers.ts'
import { Subscription } from '../../lib/connection/subscription.ts'
import { filterCovers, filterMatches, filtersOverlap } from '../../lib/topics/filter.ts'
import type { QoS } from '../../lib/types/index.ts'
import { filter } from '../topics/arbitraries.ts'

const OWNER = {}
const change = fc.record({ filter, qos: fc.constantFrom<QoS>(0, 1, 2), what: fc.constantFrom('add', 'add', 'add', 'remove', 'refuse') })

function subscription (filter: string, id: number, qos: QoS): Subscription {
  const options = { qos, noLocal: false, retainAsPublished: false, retainHandling: 0 } as const
  const made = new Subscription(filter, id, options)
  made.acquire(OWNER, options)
  return made
}

t.test('whatever comes, goes and is refused: no filter that is subscribed is covered by another that is, and none is left out', t => {
  fc.assert(fc.property(fc.array(change, { maxLength: 14 }), changes => {
    const covers = new Covers(() => {})
    covers.assign([], true)
    const wanted = new Map<string, Subscription>()
    const asked = new Map<Subscription, QoS>()
    changes.forEach(({ filter, qos, what }, i) => {
      const known = wanted.get(filter)
      if (what === 'add' && known === undefined) {
        const added = subscription(filter, i + 1, qos)
        wanted.set(filter, added)
        asked.set(added, qos)
        covers.add(added)
      } else if (what === 'remove' && known !== undefined) {
        wanted.delete(filter)
        covers.remove(known)
      } else if (what === 'refuse' && known?.coveredBy === undefined && known !== undefined) {
        known.refuse(FST_MQTT_SUBSCRIBE_REFUSED('no') as MqttError)
        covers.uncover(known)
      }
    })
    const all = [...wanted.values()]
    for (const one of all) {
      const { coveredBy } = one
      if (coveredBy !== undefined) {
        if (!all.includes(coveredBy) || coveredBy.coveredBy !== undefined || coveredBy.status === 'refused') return false
        if (!filterCovers(coveredBy.filter, one.filter)) return false
        if (coveredBy.options.qos < asked.get(one)!) return false
      } else if (one.status !== 'refused') {
        const other = all.find(other => other !== one && other.status !== 'refused' && other.coveredBy === undefined && filterCovers(other.filter, one.filter))
        if (other !== undefined) return false
        const highest = Math.max(asked.get(one)!, ...all.filter(other => other.coveredBy === one).map(other => asked.get(other)!))
        if (one.options.qos !== highest) return false
      }
    }
    return true
  }), { numRuns: 3_000 })
  t.end()
})

t.test('told are the pairs that overlap and are both subscribed, and no others', async t => {
  await fc.assert(fc.asyncProperty(fc.array(fc.record({ filter, add: fc.boolean() }), { maxLength: 14 }), async changes => {
    const told = new Set<string>()
    const covers = new Covers((one, other) => { told.add(`${one} ${other}`) })
    covers.assign([], true)
    const wanted = new Map<string, Subscription>()
    changes.forEach(({ filter, add }, i) => {
      const known = wanted.get(filter)
      if (add && known === undefined) {
        const added = subscription(filter, i + 1, 0)
        wanted.set(filter, added)
        covers.add(added)
      } else if (!add && known !== undefined) {
        wanted.delete(filter)
        known.release(OWNER)
        covers.remove(known)
      }
    })
    await Promise.resolve()
    const subscribed = [...wanted.values()].filter(({ coveredBy }) => coveredBy === undefined).map(({ filter }) => filter).sort()
    const pairs = subscribed.flatMap((one, i) => subscribed.slice(i + 1).filter(other => filtersOverlap(one, other)).map(other => `${one} ${other}`))
    t.strictSame([...told].sort(), pairs.sort())
  }), { numRuns: 300 })
})

t.test('the subscriptions that a topic matches', t => {
  fc.assert(fc.property(fc.uniqueArray(filter, { maxLength: 8 }), fc.constantFrom('a', 'a/b', '$x/a', 'a//b', '/a', '1/on/a'), (filters, topic) => {
    const covers = new Covers(() => {})
    filters.forEach((filter, i) => { covers.add(subscription(filter, i + 1, 0)) })
    const found = [...covers.matching(topic)].map(({ filter }) => filter).sort()
    return JSON.stringify(found) === JSON.stringify(filters.filter(filter => filterMatches(filter, topic)).sort())
  }), { numRuns: 2_000 })
  t.end()
})

t.test('where messages tell their subscription, nothing is covered', t => {
  const covers = new Covers(() => {})
  const all = [subscription('a/#', 1, 0), subscription('a/b', 2, 2)]
  for (const one of all) covers.add(one)
  t.equal(all[1]!.coveredBy, undefined)
  covers.assign(all, true)
  t.equal(all[1]!.coveredBy, all[0])
  t.equal(all[0]!.options.qos, 2)
  covers.assign(all, false)
  t.equal(all[1]!.coveredBy, undefined)
  t.equal(all[0]!.options.qos, 0)
  t.end()
})
