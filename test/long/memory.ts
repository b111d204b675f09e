import t from 'tap'
import { burst, flood, MIB, mostGivenUp, narrowBroker, stopBroker, type FloodRow } from '../faults/fixtures/memory.ts'
import { nameOf, skip, VERSIONS } from '../faults/fixtures/storms.ts'

/* Promise P10: the resident set grows by the configured bytes and 30 MB at most. */

t.setTimeout(600_000)

const MILLION = 1_000_000
const SMALL = 16 * MIB

const FLOODS: FloodRow[] = [
  { handling: 'never', qos: 1, size: 0 },
  { handling: 'never', qos: 0, size: 100_000, inbox: SMALL },
  { handling: 'never', qos: 2, size: 100_000, inbox: SMALL },
  { handling: 'never', qos: 0, size: 16, topicSize: 60_000, inbox: SMALL },
  { handling: 'slow', qos: 0, size: 1024, inbox: SMALL, until: 13_000 },
  { handling: 'slow', qos: 1, size: 1024, inbox: SMALL, until: 13_000 },
  { handling: 'slow', qos: 2, size: 1024, inbox: SMALL, until: 13_000 },
  { handling: 'first', qos: 1, size: 1024, topics: 8, inbox: SMALL, until: 100_000 },
  { handling: 'first', order: 'none', qos: 1, size: 16, inbox: SMALL, until: 1_200_000 },
  { handling: 'publish', qos: 0, size: 1024 },
  { handling: 'publish', qos: 2, size: 1024 },
  { handling: 'publish', qos: 0, size: 100_000 }
]

for (const version of VERSIONS) {
  t.test(`P10: ${nameOf(version)}`, { skip }, t => {
    for (const [outbox, sizes] of [[SMALL, [100_000]], [SMALL, [16, 1024, 16_384]], [64 * MIB, [16]], [64 * MIB, [1024, 9_000]]] as const) {
      t.test('the broker is stopped', t => stopBroker(t, version, { count: 60_000, sizes: [...sizes], qos: [0, 1, 2], perTurn: 500 }, { outbox }))
    }
    t.test('the broker confirms little of what is published', t => narrowBroker(t, version, { count: 60_000, sizes: [9_000], qos: [1], perTurn: 500 }, { outbox: SMALL }))
    t.test('most of what waits is given up', t => mostGivenUp(t, version, { count: 100_000, sizes: [1024], qos: [0, 1], perTurn: 1_000, timeout: 20 }))
    for (const link of ['connected', 'offline', 'stopped'] as const) {
      t.test('a million at once', t => burst(t, version, link, { count: MILLION, sizes: [1024], qos: [0, 1, 2], unheeded: true }))
      t.test('a million at once, each with a callback', t => burst(t, version, link, { count: MILLION, sizes: [16], qos: [0, 1, 2] }))
    }
    for (const row of FLOODS) t.test('a flood', t => flood(t, version, row))
    if (version === 5) {
      const properties = { userProperties: { name: 'x'.repeat(60_000) } }
      t.test('a flood of large properties', t => flood(t, version, { handling: 'never', qos: 1, size: 16, properties, inbox: SMALL }))
    }
    t.end()
  })
}
