import type { FastifyInstance } from 'fastify'
import type { DeviceKey } from '../../schemas.ts'
import { UNKNOWN_DEVICE } from '../../store.ts'

/* For all routes of this folder and those in it. */

export default async function devicesOnly (app: FastifyInstance): Promise<void> {
  // Before the body is looked at: whoever is not known here gets nothing parsed. A route with `retry` asks again, so a device
  // may be a little ahead of its registration.
  app.mqtt.addHook('onMessage', async function ({ params }) {
    await this.devices.get(params as DeviceKey)
  })

  app.mqtt.setErrorHandler((error, message) => {
    if (error instanceof UNKNOWN_DEVICE) message.log.warn(error.message)
    else message.log.error({ err: error }, 'a message of a device could not be handled')
  })
}
