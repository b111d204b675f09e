import type { FastifyInstance } from 'fastify'
import type { Test } from 'tap'
import { buildPlant, type PlantOptions } from '../app.ts'

/** The plant without a broker, with a heater in room 1. */
export async function build (t: Test, options: PlantOptions = {}): Promise<FastifyInstance> {
  const app = await buildPlant({ mqtt: { connect: false }, ...options })
  t.after(() => app.close())
  await app.devices.add({ room: 1, device: 'heater' })
  return app
}
