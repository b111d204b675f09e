import fc from 'fast-check'
import t from 'tap'
import { FilterTree } from '../../lib/topics/filter-tree.ts'
import { filtersOverlap } from '../../lib/topics/filter.ts'

const level = fc.constantFrom('a', 'b', '+', '')
const filters = fc.tuple(fc.array(level, { minLength: 1, maxLength: 4 }), fc.boolean())
  .map(([levels, rest]) => rest ? [...levels, '#'].join('/') : levels.join('/'))
  .filter(filter => filter !== '')

t.test('finds every filter that overlaps, and few that do not', t => {
  fc.assert(fc.property(fc.uniqueArray(filters, { maxLength: 12 }), filters, (known, asked) => {
    const tree = new FilterTree<string>()
    for (const filter of known) tree.add(filter, filter)
    const met = [...tree.meeting(asked)]
    for (const filter of known) {
      // `+/#` and `/#` meet at a level above that no topic has; the tree does not know of empty topics.
      if (filtersOverlap(filter, asked) && !met.includes(filter)) return false
    }
    return new Set(met).size === met.length
  }), { numRuns: 5_000 })
  t.end()
})

t.test('a filter is not met by those beside it', t => {
  const tree = new FilterTree<string>()
  for (const filter of ['a/+/c', 'a/b/#', 'b/#', '+/b/c', 'a/b', '#']) tree.add(filter, filter)
  t.strictSame([...tree.meeting('a/b/c')].sort(), ['#', '+/b/c', 'a/+/c', 'a/b/#'])
  t.strictSame([...tree.meeting('a/b')].sort(), ['#', 'a/b', 'a/b/#'])
  t.strictSame([...tree.meeting('b/+')].sort(), ['#', '+/b/c', 'b/#'].filter(filter => filter !== '+/b/c'))
  t.end()
})

t.test('what was taken away is not met any more', t => {
  fc.assert(fc.property(fc.uniqueArray(filters, { maxLength: 12 }), fc.nat(), filters, (known, which, asked) => {
    const tree = new FilterTree<string>()
    for (const filter of known) tree.add(filter, filter)
    const gone = known.filter((_, i) => (which >> i) % 2 === 1)
    for (const filter of [...gone, 'never/there']) tree.remove(filter, filter)
    const fresh = new FilterTree<string>()
    for (const filter of known) if (!gone.includes(filter)) fresh.add(filter, filter)
    return JSON.stringify([...tree.meeting(asked)].sort()) === JSON.stringify([...fresh.meeting(asked)].sort())
  }), { numRuns: 3_000 })
  t.end()
})
