import t from 'tap'
import { surviveKills } from './fixtures/crashes.ts'
import { nameOf, skip, VERSIONS } from './fixtures/storms.ts'

/* kill -9 of the application while its handlers run, with a kept session: test/long/ has the same with 20 rounds. */

t.setTimeout(120_000)

for (const version of VERSIONS) {
  t.test(`P6: killed in its handlers, no confirmed message is lost: ${nameOf(version)}`, { skip }, t => surviveKills(t, version, 3))
}
