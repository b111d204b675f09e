import type { FastifyInstance } from 'fastify'
import { Reading, type DeviceKey } from '../../../schemas.ts'

/* Devices with the first firmware send a plain number, at QoS 0, under topics of their own. */

export const autoConfig = { mqttPrefix: 'v1/<int(min=1):room>/<str(maxlength=32):device>' }

export default async function firstFirmware (app: FastifyInstance): Promise<void> {
  app.mqtt.topic('celsius', { schema: { payload: Reading.properties.celsius } }, async function ({ params, body, receivedAt }) {
    // They have no presence of their own.
    await this.devices.update(params as DeviceKey, {
      online: true, reading: { celsius: body, at: new Date(receivedAt).toISOString() }
    })
  })
}
