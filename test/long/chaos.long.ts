import t from 'tap'
import { handleThroughResets, nameOf, publishThroughResets, skip, VERSIONS } from '../faults/fixtures/storms.ts'

t.setTimeout(300_000)

for (const version of VERSIONS) {
  t.test(nameOf(version), { skip }, t => {
    for (const qos of [1, 2] as const) {
      t.test(`P1: 50 000 QoS ${qos} publishes, a reset every 60 ms: no confirmed one is lost`, t => publishThroughResets(t, version, qos, 50_000))
      t.test(`P6, P7: 15 000 QoS ${qos} messages each way, a reset every 60 ms: none lost`, t => handleThroughResets(t, version, qos, 15_000))
    }
    t.end()
  })
}
