import { startMosquitto } from '../../test/support/mosquitto.ts'
import { withCleanup } from '../harness/cleanup.ts'
import type { Figures, Scenario } from '../harness/scenario.ts'
import { CPU, LOOP, RATE } from '../load/metrics.ts'
import { MQTT_JS, OURS, versionName, VERSIONS } from '../load/names.ts'
import { measurePublishing, type Publishing } from '../load/publishing.ts'

/** The same on a broker that people use: it sets the pace, so what differs is what is left for everything else. */
export const publishMosquitto: Scenario<Publishing> = {
  name: 'publish-mosquitto',
  title: 'un-awaited publishes of 256 B, QoS 1, 1 000 under way, mosquitto',
  metrics: [RATE, CPU, LOOP],
  competitors: [OURS, MQTT_JS],
  cases: VERSIONS.map(version => ({ name: versionName(version), setting: { qos: 1, version, size: 256, window: 1_000 } })),
  goals: VERSIONS.flatMap(version => {
    const of = { case: versionName(version), competitor: OURS }
    const to = { case: versionName(version), competitor: MQTT_JS }
    return [{ metric: RATE.name, of, to, atLeast: 1.1 }, { metric: CPU.name, of, to, atMost: 0.5 }]
  }),
  measure
}

async function measure (competitor: string, setting: Publishing, seconds: number): Promise<Figures> {
  return await withCleanup(async owner => {
    const { url } = await startMosquitto(owner, { config: ['max_inflight_messages 0'] })
    return (await measurePublishing(owner, competitor, url, setting, seconds)).figures
  })
}
