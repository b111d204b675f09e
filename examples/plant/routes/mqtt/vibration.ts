import type { FastifyInstance } from 'fastify'
import { poolHandler } from '../../../../lib/index.ts'
import { vibration, waveform } from '../../topics.ts'

export default async function vibrationRoutes (app: FastifyInstance): Promise<void> {
  // Acknowledged when the task has ended, so a device knows that its waveform was not lost.
  app.mqtt.topic(waveform, { qos: 1, parse: 'buffer', handlerTimeout: 5_000 }, poolHandler(app.pool))

  app.mqtt.topic(vibration, { qos: 1 }, async function ({ params, body, receivedAt }) {
    await this.devices.update(params, { vibration: { ...body, at: new Date(receivedAt).toISOString() } })
  })
}
