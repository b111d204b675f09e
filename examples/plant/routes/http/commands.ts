import createError from '@fastify/error'
import type { FastifyInstance } from 'fastify'
import type { PlantOptions } from '../../app.ts'
import { Command, DeviceKey } from '../../schemas.ts'
import { command } from '../../topics.ts'

export const autoPrefix = '/rooms/:room/devices/:device/commands'

const BROKER_DOWN = createError('BROKER_DOWN', 'The broker cannot be reached', 503)

export default async function commandRoutes (app: FastifyInstance, { commandTimeout = 5_000 }: PlantOptions): Promise<void> {
  app.post<{ Params: DeviceKey, Body: Command }>('/', { schema: { params: DeviceKey, body: Command } }, async request => {
    const { room, device } = await app.devices.get(request.params)
    // A request would wait for the connection. Whoever has pressed a button had better know at once.
    if (!app.mqtt.connected) throw BROKER_DOWN()
    // Its errors have the right status: 504 no answer in time, 502 the device has failed, or answers what makes no sense,
    // 501 the broker does not speak MQTT 5.
    const { body } = await app.mqtt.request(command, { room, device }, request.body, { qos: 1, timeout: commandTimeout })
    return body
  })
}
