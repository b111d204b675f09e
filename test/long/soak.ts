import t from 'tap'
import { soak } from '../faults/fixtures/soak.ts'
import { nameOf, skip, VERSIONS } from '../faults/fixtures/storms.ts'

/* 2 000 messages a second both ways, a reset every 200 ms. SOAK_SECONDS=600 is an hour's worth of reconnecting. */

const seconds = Number(process.env.SOAK_SECONDS ?? 60)

t.setTimeout((2 * seconds + 180) * 1_000)

for (const version of VERSIONS) {
  t.test(`${seconds} s of load and resets: ${nameOf(version)}`, { skip }, t => soak(t, version, seconds))
}
