import { join } from 'node:path'
import autoload from '@fastify/autoload'
import Fastify, { type FastifyInstance, type FastifyServerOptions } from 'fastify'
import multimqtt, { type MqttPluginOptions } from '../../lib/index.ts'
import type { DeviceStore } from './store.ts'

export interface PlantOptions {
  /** For the plugin: which broker, or none. */
  mqtt?: MqttPluginOptions
  /** Default: in memory. */
  store?: DeviceStore
  /** Milliseconds that a device may take to answer. Default 5000. */
  commandTimeout?: number
  logger?: FastifyServerOptions['logger']
}

/** Builds the application; `listen()` starts it, `close()` ends all of it. */
export async function buildPlant ({ mqtt = {}, logger = false, ...options }: PlantOptions): Promise<FastifyInstance> {
  const app = Fastify({ logger })
  const folder = (name: string): string => join(import.meta.dirname, name)
  // Closed in reverse order: handlers end first, and then what they use.
  await app.register(autoload, { dir: folder('plugins'), options })
  await app.register(multimqtt, { handlerTimeout: 10_000, ...mqtt })
  await app.register(autoload, { dir: folder('routes'), options, dirNameRoutePrefix: false, autoHooks: true, cascadeHooks: true })
  return app
}
