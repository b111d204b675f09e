import fc from 'fast-check'
import t from 'tap'
import { filterCovers, filterMatches, filtersOverlap, parseShare, validateFilter } from '../../lib/topics/filter.ts'
import * as arbitrary from './arbitraries.ts'
import { referenceMatches } from './reference.ts'

t.test('filters that MQTT allows', async t => {
  for (const filter of [
    'a', '/', '//', '#', '+', '+/+', 'a/#', '/#', '$SYS/#', '<n>', 'a b', '$share', '$share/g/a', '$share/g/#', '$share/g//', '$share/g-1 x/+/b', '$shared/x', 'x'.repeat(65_535)
  ]) t.doesNotThrow(() => validateFilter(filter), filter.slice(0, 20))
})

t.test('filters that it does not, each with its caret', async t => {
  const table: Array<[filter: string, caret: string, reason: RegExp]> = [
    ['', '^', /The filter is empty/],
    ['a/b+', '   ^', /"\+" must fill a whole level/],
    ['a#', ' ^', /"#" must fill a whole level/],
    ['a/#/b', '  ^', /"#" must be the last level/],
    ['#/', '^', /"#" must be the last level/],
    ['a\0', ' ^', /NUL/],
    ['\udc00', '^', /lone surrogate/],
    ['$share/', '       ^', /group has no name/],
    ['$share//a', '       ^', /group has no name/],
    ['$share/g', '        ^', /filter after the group is missing/],
    ['$share/g/', '         ^', /filter after the group is missing/],
    ['$share/g+/a', '        ^', /group's name holds no/],
    ['$share/#/a', '       ^', /group's name holds no/],
    ['$share/g/#/a', '         ^', /must be the last level/]
  ]
  for (const [filter, caret, reason] of table) {
    t.throws(() => validateFilter(filter), { code: 'FST_MQTT_PATTERN', message: reason }, filter)
    try {
      validateFilter(filter)
    } catch (error) {
      t.equal((error as Error).message.split('\n')[2], `  ${caret}`, filter)
    }
  }
  t.throws(() => validateFilter('x'.repeat(65_536)), { code: 'FST_MQTT_PATTERN', message: /over 65 535 bytes/ })
})

t.test('the parts of a shared subscription', async t => {
  t.strictSame(parseShare('$share/g/a/+'), { group: 'g', filter: 'a/+' })
  t.strictSame(parseShare('$share/g//'), { group: 'g', filter: '/' })
  for (const filter of ['a', '$share', '$share/', '$share/g', '$share/g/', '$share//a', 'a/$share/g/b']) t.equal(parseShare(filter), null, filter)
})

t.test('filterMatches is the same as the naive reference', async t => {
  let matched = 0
  fc.assert(fc.property(arbitrary.filter, arbitrary.topic, (filter, topic) => {
    const wanted = referenceMatches(filter, topic)
    if (wanted) matched++
    return filterMatches(filter, topic) === wanted && filterMatches(`$share/g/${filter}`, topic) === wanted
  }), { numRuns: 20_000 })
  t.ok(matched > 500, `${matched} matches`)
  t.equal(filterMatches('#', ''), false)
  t.equal(filterMatches('', ''), false)
})

t.test('filterCovers and filtersOverlap, all pairs of small filters against all small topics', async t => {
  const filters = ['#', ...sequences(['a', '', '$x', '+'], 3).flatMap(filter => [filter, `${filter}/#`])].filter(filter => filter !== '')
  // `z` is in no filter, and topics are a level longer than filters: what these cannot tell apart, none can.
  const topics = sequences(['a', '', '$x', 'z'], 4).filter(topic => topic !== '')
  const matched = new Map(filters.map(filter => [filter, topics.map(topic => referenceMatches(filter, topic))]))
  let wrong = 0
  for (const [a, matchedByA] of matched) {
    for (const [b, matchedByB] of matched) {
      const covers = matchedByB.every((matches, i) => !matches || matchedByA[i])
      const overlap = matchedByB.some((matches, i) => matches && matchedByA[i])
      if (filterCovers(a, b) === covers && filtersOverlap(a, b) === overlap) continue
      wrong++
      t.fail(`${a} and ${b}: covers ${String(covers)}, overlap ${String(overlap)}`)
    }
  }
  t.equal(wrong, 0, `${filters.length ** 2} pairs`)
})

t.test('of shared subscriptions the filter counts', async t => {
  t.equal(filterCovers('$share/g/#', 'a'), true)
  t.equal(filterCovers('#', '$share/g/a'), true)
  t.equal(filterCovers('#', '$share/g/$SYS/a'), false)
  t.equal(filtersOverlap('$share/g/a/+', '$share/h/+/b'), true)
})

function sequences (levels: readonly string[], length: number): string[] {
  if (length === 1) return [...levels]
  const shorter = sequences(levels, length - 1)
  return [...new Set([...shorter, ...shorter.flatMap(rest => levels.map(level => `${level}/${rest}`))])]
}
