import { startClock } from '../harness/clock.ts'
import type { Cleanup } from '../harness/cleanup.ts'
import type { Figures } from '../harness/scenario.ts'
import { startApplication } from './application.ts'
import { perMessage } from './metrics.ts'
import { connectMqttJs, frugalMqttJsPublisher, mqttJsPublisher } from './mqttjs.ts'
import { MQTT_JS_CALLBACKS, OURS, WARM_UP } from './names.ts'
import { promisePublisher, type Publisher } from './publisher.ts'
import { pump, type Load } from './pump.ts'

/** How to publish on the main thread. */
export interface Publishing extends Load {
  readonly qos: 0 | 1
  readonly version: 4 | 5
}

/** What was measured, and how many were published in all: warming up and barriers count there too. */
export interface Published {
  readonly figures: Figures
  readonly total: number
}

/** Warms up, then measures. `between` runs right before the clock starts. */
export async function measurePublishing (
  owner: Cleanup, competitor: string, url: string, setting: Publishing, seconds: number, between: () => Promise<unknown> = async () => {}
): Promise<Published> {
  const publisher = await createPublisher(owner, competitor, url, setting)
  const warm = await pump(publisher, setting, WARM_UP)
  await between()
  const stop = startClock()
  const sent = await pump(publisher, setting, seconds)
  return { figures: perMessage(stop(), sent), total: warm + sent + 2 }
}

async function createPublisher (owner: Cleanup, competitor: string, url: string, { qos, version }: Publishing): Promise<Publisher> {
  if (competitor === OURS) {
    const { mqtt } = await startApplication(owner, url, version)
    return promisePublisher(mqtt, qos)
  }
  const client = await connectMqttJs(url, version)
  owner.after(() => client.endAsync())
  return competitor === MQTT_JS_CALLBACKS ? mqttJsPublisher(client, qos) : frugalMqttJsPublisher(client, qos)
}

/** Nothing may be lost or doubled between two that do not fail. */
export function same (what: string, here: number, there: number): void {
  if (here !== there) throw new Error(`${what}: ${here} here, ${there} at the broker`)
}
