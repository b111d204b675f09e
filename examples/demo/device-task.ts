import { setTimeout as sleep } from 'node:timers/promises'
import { mqtt } from '../../workers/index.ts'
import { step, type Climate, type Settings } from './device.ts'
import { metrics, status, telemetry, type Metric } from './topics.ts'

/** One stretch of one device's life; the pool runs the next one with what this one returns. */
export interface Stretch {
  id: number
  climate: Climate
  settings: Settings
  /** Also publish the status. */
  report: boolean
  steps: number
  /** Milliseconds from one step to the next. */
  pace: number
}

const digits: Record<Metric, number> = { temperature: 2, humidity: 1, power: 0 }

// Runs in a worker thread. Nothing is wired up: `mqtt` finds the application by itself.
export default async function simulate ({ id, climate, settings, report, steps, pace }: Stretch): Promise<Climate> {
  if (report) await mqtt.publish(status, { id }, settings, { qos: 1 })

  for (let i = 0; i < steps; i++) {
    await sleep(pace)
    climate = step(climate, settings, id, Date.now(), pace / 1000)
    for (const metric of metrics) {
      await mqtt.publish(telemetry, { id, metric }, climate[metric].toFixed(digits[metric]))
    }
  }
  return climate
}
