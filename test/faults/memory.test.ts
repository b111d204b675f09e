import t from 'tap'
import { burst, flood, MIB, mostGivenUp, narrowBroker, stopBroker } from './fixtures/memory.ts'
import { nameOf, skip, VERSIONS } from './fixtures/storms.ts'

/* Promise P10: the resident set grows by the configured bytes and 30 MB at most. test/long/memory.ts has more rows. */

t.setTimeout(300_000)

const MILLION = 1_000_000

for (const version of VERSIONS) {
  t.test(`P10: ${nameOf(version)}`, { skip }, t => {
    t.test('the broker is stopped', t => stopBroker(t, version, { count: 60_000, sizes: [16, 1024, 16_384], qos: [0, 1, 2], perTurn: 500 }))
    t.test('a million at once', t => burst(t, version, 'connected', { count: MILLION, sizes: [1024], qos: [0, 1], unheeded: true }))
    t.test('a flood into handlers that hang', t => flood(t, version, { handling: 'never', qos: 2, size: 1024, inbox: 16 * MIB }))
    t.test('a flood of long topics', t => flood(t, version, { handling: 'never', qos: 1, size: 16, topicSize: 30_000, inbox: 16 * MIB }))
    t.test('a flood into handlers that wait for the broker', t => flood(t, version, { handling: 'publish', qos: 1, size: 100_000 }))
    // What follows does not depend on the version.
    if (version === 5) {
      t.test('the broker confirms little of what is published', t => narrowBroker(t, version, { count: 100_000, sizes: [1024], qos: [1], perTurn: 500 }, { outbox: 16 * MIB }))
      t.test('most of what waits is given up', t => mostGivenUp(t, version, { count: 100_000, sizes: [1024], qos: [1], perTurn: 1_000, timeout: 20 }))
      t.test('a million at once, to a stopped broker, each with a callback', t => burst(t, version, 'stopped', { count: MILLION, sizes: [16], qos: [0, 1, 2] }))
      t.test('a flood of what waits for one topic', t => flood(t, version, { handling: 'first', qos: 0, size: 1024, topics: 8, inbox: 16 * MIB, until: 100_000 }))
      t.test('a flood of what waits for one acknowledgement', t => flood(t, version, { handling: 'first', order: 'none', qos: 2, size: 16, inbox: 16 * MIB, until: 1_500_000 }))
    }
    t.end()
  })
}
