import type { FastifyInstance } from 'fastify'
import Type from 'typebox'
import { DeviceKey } from '../../schemas.ts'
import type { Device } from '../../store.ts'
import { command, presence, telemetry, waveform } from '../../topics.ts'

export const autoPrefix = '/rooms/:room/devices'

export default async function deviceRoutes (app: FastifyInstance): Promise<void> {
  const schema = { params: DeviceKey }

  app.get<{ Params: Pick<DeviceKey, 'room'> }>('/', { schema: { params: Type.Pick(DeviceKey, ['room']) } }, async request => {
    const devices = await app.devices.list(request.params.room)
    return devices.map(view)
  })

  app.get<{ Params: DeviceKey }>('/:device', { schema }, async request => view(await app.devices.get(request.params)))

  app.put<{ Params: DeviceKey }>('/:device', { schema }, async (request, reply) => {
    const isNew = await app.devices.add(request.params)
    reply.code(isNew ? 201 : 200)
    return view(await app.devices.get(request.params))
  })

  /** With the topics as the device has to write them, prefix included. */
  function view (found: Device): object {
    const { room, device } = found
    const topicOf = (definition: typeof telemetry | typeof presence | typeof command | typeof waveform): string =>
      app.mqtt.topicFor(definition, { room, device }, { absolute: true })
    return {
      ...found,
      topics: { telemetry: topicOf(telemetry), presence: topicOf(presence), command: topicOf(command), waveform: topicOf(waveform) }
    }
  }
}
