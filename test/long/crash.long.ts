import t from 'tap'
import { surviveKills } from '../faults/fixtures/crashes.ts'
import { nameOf, skip, VERSIONS } from '../faults/fixtures/storms.ts'

t.setTimeout(300_000)

for (const version of VERSIONS) {
  t.test(`P6: killed 20 times in its handlers, no confirmed message is lost: ${nameOf(version)}`, { skip }, t => surviveKills(t, version, 20))
}
