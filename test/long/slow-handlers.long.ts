import t from 'tap'
import { slowHandlers } from '../faults/fixtures/slow.ts'
import { skip, VERSIONS } from '../faults/fixtures/storms.ts'

t.setTimeout(300_000)

t.test('P9: handlers of 60 s, keepalive 1 s', { skip }, async t => {
  // Side by side: nearly all of it is waiting.
  await Promise.all(VERSIONS.flatMap(version => (['received', 'handled'] as const).map(
    ackOrder => slowHandlers(t, version, ackOrder, 60)
  )))
})
