import t from 'tap'
import { publishingHandlers, slowHandlers } from './fixtures/slow.ts'
import { nameOf, skip, VERSIONS } from './fixtures/storms.ts'

/* P9: slow and publishing handlers stall nobody. test/long/ has the same with handlers of a minute. */

t.setTimeout(120_000)

for (const version of VERSIONS) {
  t.test(`P9: ${nameOf(version)}: handlers of 4 s, keepalive 1 s`, { skip }, async t => {
    await Promise.all((['received', 'handled'] as const).map(ackOrder => slowHandlers(t, version, ackOrder, 4)))
  })

  t.test(`P9: ${nameOf(version)}: handlers that await QoS 1 and 2, behind one that waits`, { skip }, async t => {
    for (const ackOrder of ['received', 'handled'] as const) {
      for (const qos of [1, 2] as const) await publishingHandlers(t, version, ackOrder, qos)
    }
  })
}
