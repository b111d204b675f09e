import type { FastifyInstance } from 'fastify'
import { telemetry } from '../../topics.ts'

export default async function telemetryRoute (app: FastifyInstance): Promise<void> {
  // A store may be out of reach for a moment. What it does not take then goes where somebody can look at it.
  const options = { qos: 1, retry: { attempts: 2, delay: 200 }, deadLetter: 'failed/telemetry' } as const

  app.mqtt.topic(telemetry, options, async function ({ params, body, receivedAt }) {
    await this.devices.update(params, { reading: { ...body, at: new Date(receivedAt).toISOString() } })
  })
}
