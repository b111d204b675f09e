import { setTimeout as sleep } from 'node:timers/promises'
import { withCleanup, type Cleanup } from '../harness/cleanup.ts'
import { startClock } from '../harness/clock.ts'
import type { Figures, Scenario } from '../harness/scenario.ts'
import { waitFor } from '../../test/support/events.ts'
import { startApplication } from '../load/application.ts'
import { FILTER } from '../load/messages.ts'
import { BROKER, CPU, LOOP, perMessage, RATE } from '../load/metrics.ts'
import { connectMqttJs } from '../load/mqttjs.ts'
import { MQTT_JS, OURS, versionName, VERSIONS, WARM_UP } from '../load/names.ts'
import { busy, startNullBroker } from '../load/null-broker.ts'
import { same } from '../load/publishing.ts'

interface Receiving {
  readonly qos: 0 | 1
  readonly version: 4 | 5
}

/** Being sent messages as fast as they are taken, for one route. */
export const receive: Scenario<Receiving> = {
  name: 'receive',
  title: '256 B, one matching route with a handler that counts, 1 000 unacknowledged, null broker',
  metrics: [RATE, CPU, LOOP, BROKER],
  competitors: [OURS, MQTT_JS],
  cases: VERSIONS.flatMap(version => ([0, 1] as const).map(qos => ({ name: nameOf(qos, version), setting: { qos, version } }))),
  goals: VERSIONS.flatMap(version => ([0, 1] as const).map(qos => ({
    metric: RATE.name,
    of: { case: nameOf(qos, version), competitor: OURS },
    to: { case: nameOf(qos, version), competitor: MQTT_JS },
    atLeast: qos === 0 ? 3.5 : 7
  }))),
  measure
}

function nameOf (qos: 0 | 1, version: 4 | 5): string {
  return `QoS ${qos}, ${versionName(version)}`
}

async function measure (competitor: string, { qos, version }: Receiving, seconds: number): Promise<Figures> {
  return await withCleanup(async owner => {
    const broker = await startNullBroker(owner)
    const received = await subscribe(owner, competitor, broker.url, qos, version)
    await broker.flood({ qos, size: 256, window: 1_000 })
    // These waits are the measurement.
    await sleep(WARM_UP * 1000)
    const before = await broker.counts()
    const from = received()
    const stop = startClock()
    await sleep(seconds * 1000)
    const took = stop()
    const count = received() - from
    const after = await broker.stopFlood()
    await waitFor(() => received() >= after.sent, 'what was sent')
    same('received', received(), after.sent)
    return { ...perMessage(took, count), broker: busy(before, after) }
  })
}

/** Returns how many messages have come to the handler. */
async function subscribe (owner: Cleanup, competitor: string, url: string, qos: 0 | 1, version: 4 | 5): Promise<() => number> {
  let count = 0
  if (competitor === OURS) {
    await startApplication(owner, url, version, app => { app.mqtt.topic(FILTER, { qos }, () => { count++ }) })
    return () => count
  }
  const client = await connectMqttJs(url, version)
  owner.after(() => client.endAsync())
  client.on('message', () => { count++ })
  await client.subscribeAsync(FILTER, { qos })
  return () => count
}
