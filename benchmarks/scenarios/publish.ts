import { withCleanup } from '../harness/cleanup.ts'
import type { Figures, Scenario } from '../harness/scenario.ts'
import { BROKER, CPU, LOOP, RATE } from '../load/metrics.ts'
import { MQTT_JS, MQTT_JS_CALLBACKS, OURS, versionName, VERSIONS } from '../load/names.ts'
import { busy, startNullBroker } from '../load/null-broker.ts'
import { measurePublishing, same, type Publishing } from '../load/publishing.ts'

/** Publishing on the main thread as fast as it goes, to a broker that does next to nothing. */
export const publish: Scenario<Publishing> = {
  name: 'publish',
  title: 'un-awaited publishes of 256 B, 1 000 under way, null broker',
  metrics: [RATE, CPU, LOOP, BROKER],
  competitors: [OURS, MQTT_JS, MQTT_JS_CALLBACKS],
  cases: VERSIONS.flatMap(version => ([0, 1] as const).map(qos => ({
    name: nameOf(qos, version),
    setting: { qos, version, size: 256, window: 1_000 },
    // At QoS 1 both ways are one.
    competitors: qos === 0 ? [OURS, MQTT_JS, MQTT_JS_CALLBACKS] : [OURS, MQTT_JS]
  }))),
  goals: VERSIONS.flatMap(version => ([0, 1] as const).map(qos => ({
    metric: RATE.name,
    of: { case: nameOf(qos, version), competitor: OURS },
    to: { case: nameOf(qos, version), competitor: MQTT_JS },
    atLeast: qos === 0 ? 6 : 12
  }))),
  measure
}

function nameOf (qos: 0 | 1, version: 4 | 5): string {
  return `QoS ${qos}, ${versionName(version)}`
}

async function measure (competitor: string, setting: Publishing, seconds: number): Promise<Figures> {
  return await withCleanup(async owner => {
    const broker = await startNullBroker(owner)
    let before = await broker.counts()
    const { figures, total } = await measurePublishing(owner, competitor, broker.url, setting, seconds,
      async () => { before = await broker.counts() })
    const after = await broker.counts()
    same('published', total, after.published)
    return { ...figures, broker: busy(before, after) }
  })
}
