import t from 'tap'
import { besiege } from '../faults/fixtures/hostile.ts'
import { nameOf, VERSIONS } from '../faults/fixtures/storms.ts'

/* Promise P23 on whole applications: what `hostile.long.ts` does to the framer alone, over sockets. */

t.setTimeout(600_000)

for (const version of VERSIONS) {
  t.test(`P23: 50 000 mutated streams: ${nameOf(version)}`, t => besiege(t, { version, streams: 50_000, seed: Math.floor(Math.random() * 2 ** 31) }))
}
