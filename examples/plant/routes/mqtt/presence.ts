import type { FastifyInstance } from 'fastify'
import { presence } from '../../topics.ts'

export default async function presenceRoute (app: FastifyInstance): Promise<void> {
  // Retained: after a start the broker tells it of every device at once.
  app.mqtt.topic(presence, { qos: 1 }, async function ({ params, body }) {
    await this.devices.update(params, body)
  })
}
