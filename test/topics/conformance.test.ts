import t from 'tap'
import { filterMatches, parseShare } from '../../lib/topics/filter.ts'
import { parsePattern } from '../../lib/topics/pattern.ts'
import { Router } from '../../lib/topics/router.ts'
import { referenceMatches } from './reference.ts'

/*
 * MQTT 5 section 4.7, each rule a row: against filterMatches, the router, and the naive reference.
 */

const table: Array<[filter: string, topic: string, matches: boolean]> = [
  // 4.7.1.2 multi-level wildcard, the specification's own examples
  ['sport/tennis/player1/#', 'sport/tennis/player1', true],
  ['sport/tennis/player1/#', 'sport/tennis/player1/ranking', true],
  ['sport/tennis/player1/#', 'sport/tennis/player1/score/wimbledon', true],
  ['sport/#', 'sport', true],
  ['#', 'sport/tennis', true],
  ['sport/tennis/#', 'sport/tennis', true],
  ['sport/tennis/#', 'sport/tennis2', false],
  ['sport/tennis/#', 'sport', false],
  // 4.7.1.3 single-level wildcard, the specification's own examples
  ['sport/tennis/+', 'sport/tennis/player1', true],
  ['sport/tennis/+', 'sport/tennis/player2', true],
  ['sport/tennis/+', 'sport/tennis/player1/ranking', false],
  ['sport/+', 'sport', false],
  ['sport/+', 'sport/', true],
  ['+', 'sport', true],
  ['+/tennis/#', 'sport/tennis', true],
  ['+/tennis/#', 'sport/tennis/x/y', true],
  ['sport/+/player1', 'sport/tennis/player1', true],
  ['sport/+/player1', 'sport/tennis/x/player1', false],
  ['/finance', '/finance', true],
  ['+/+', '/finance', true],
  ['/+', '/finance', true],
  ['+', '/finance', false],
  // 4.7.2 topics beginning with $
  ['#', '$SYS/x', false],
  ['+/monitor/Clients', '$SYS/monitor/Clients', false],
  ['+/x', '$SYS/x', false],
  ['+', '$SYS', false],
  ['+/#', '$SYS/x', false],
  ['$SYS/#', '$SYS/a', true],
  ['$SYS/#', '$SYS', true],
  ['$SYS/monitor/+', '$SYS/monitor/Clients', true],
  ['$SYS/#', 'SYS/a', false],
  ['a/+', 'a/$x', true],
  ['a/#', 'a/$x/y', true],
  ['#', 'a/$SYS', true],
  // 4.7.3 case, spaces, empty levels, and nothing normalised
  ['ACCOUNTS', 'Accounts', false],
  ['Accounts payable', 'Accounts payable', true],
  ['/finance', 'finance', false],
  ['/', '/', true],
  ['+/+', '/', true],
  ['#', '/', true],
  ['a/b', 'a/b/', false],
  ['a//b', 'a/b', false],
  ['a/+/b', 'a//b', true],
  ['+/x', '/x', true],
  ['+/+/+', '//', true],
  ['+/+', '//', false],
  ['a/#', 'a/', true],
  ['a/#', 'a//', true],
  ['/#', '/', true],
  ['/#', '/a', true],
  ['/#', 'a', false],
  ['a.b', 'axb', false],
  ['a.b', 'a.b', true],
  ['(a)', '(a)', true],
  ['a', 'a\u0301', false],
  ['\u00e1', 'a\u0301', false],
  // rows on which other Node matchers fail (research/peers.md 2b)
  ['home/#', 'home', true],
  ['#', 'a/b', true],
  ['home/#', 'homer', false],
  ['home/+/#', 'home', false],
  ['home/+/#', 'home/x', true],
  // 4.8.2 shared subscriptions
  ['$share/g/a/+', 'a/1', true],
  ['$share/g-1/a/+', 'a/1', true],
  ['$share/g/#', '$SYS/a', false],
  ['$share/g/$SYS/#', '$SYS/a', true],
  ['$share/g//x', '/x', true],
  ['$share/g/a', '$share/g/a', false]
]

t.test('MQTT 5 section 4.7', async t => {
  for (const [filter, topic, matches] of table) {
    const row = `${filter} ${matches ? 'matches' : 'does not match'} ${topic}`
    t.equal(referenceMatches(filter, topic), matches, `${row} (reference)`)
    t.equal(filterMatches(filter, topic), matches, `${row} (filterMatches)`)
    const router = new Router<string>()
    router.add(parsePattern(parseShare(filter)?.filter ?? filter), filter)
    t.equal(router.match(topic).length, matches ? 1 : 0, `${row} (router)`)
  }
})

t.test('all of the table in one router', async t => {
  const router = new Router<string>()
  const filters = [...new Set(table.map(([filter]) => filter).filter(filter => parseShare(filter) === null))]
  for (const filter of filters) router.add(parsePattern(filter), filter)
  for (const [, topic] of table) {
    t.same(router.match(topic).map(({ value }) => value), filters.filter(filter => referenceMatches(filter, topic)), topic)
  }
})
