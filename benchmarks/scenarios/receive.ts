import type { Cleanup } from '../harness/cleanup.ts'
import type { Scenario } from '../harness/scenario.ts'
import { startApplication } from '../load/application.ts'
import { FILTER } from '../load/messages.ts'
import { BROKER, CPU, HEAP, LOOP, RATE } from '../load/metrics.ts'
import { connectMqttJs } from '../load/mqttjs.ts'
import { MQTT_JS, OURS, versionName, VERSIONS } from '../load/names.ts'
import { measureReceiving } from '../load/receiving.ts'

interface Receiving {
  readonly qos: 0 | 1
  readonly version: 4 | 5
}

/** Being sent messages as fast as they are taken, for one route. */
export const receive: Scenario<Receiving> = {
  name: 'receive',
  title: '256 B, one matching route with a handler that counts, 1 000 unacknowledged, null broker',
  metrics: [RATE, CPU, HEAP, LOOP, BROKER],
  competitors: [OURS, MQTT_JS],
  cases: VERSIONS.flatMap(version => ([0, 1] as const).map(qos => ({ name: nameOf(qos, version), setting: { qos, version } }))),
  goals: VERSIONS.flatMap(version => ([0, 1] as const).map(qos => ({
    metric: RATE.name,
    of: { case: nameOf(qos, version), competitor: OURS },
    to: { case: nameOf(qos, version), competitor: MQTT_JS },
    atLeast: qos === 0 ? 3.5 : 7
  }))),
  measure: (competitor, { qos, version }, seconds) => measureReceiving(qos, seconds, (owner, url) => subscribe(owner, competitor, url, qos, version))
}

function nameOf (qos: 0 | 1, version: 4 | 5): string {
  return `QoS ${qos}, ${versionName(version)}`
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
