import fp from 'fastify-plugin'
import type { PlantOptions } from '../app.ts'
import { MemoryStore, type DeviceStore } from '../store.ts'

declare module 'fastify' {
  interface FastifyInstance { devices: DeviceStore }
}

export default fp<PlantOptions>(async (app, { store = new MemoryStore() }) => {
  app.decorate('devices', store)
})
