import Fastify, { type FastifyBaseLogger, type FastifyInstance } from 'fastify'
import multimqtt, { type MqttPluginOptions } from '../../lib/index.ts'
import { waitFor } from './events.ts'
import type { Owner } from './folder.ts'
import { recordingLogger, type RecordingLogger } from './logger.ts'
import { mosquittoMissing, startMosquitto, type Mosquitto } from './mosquitto.ts'

/** An application with the plugin on it; closed with the test. */
export interface TestApp {
  app: FastifyInstance
  logger: RecordingLogger
}

/** Registers the plugin; the caller declares routes and then awaits `ready`. */
export async function buildApp (t: Owner, options: MqttPluginOptions): Promise<TestApp> {
  const logger = recordingLogger()
  const app = Fastify({ loggerInstance: logger as FastifyBaseLogger })
  t.after(() => app.close())
  await app.register(multimqtt, options)
  return { app, logger }
}

/** Makes the application ready and waits until it is connected and every subscription is active. */
export async function connect (app: FastifyInstance): Promise<void> {
  await app.ready()
  await live(app)
}

/** Waits until the application is connected and every subscription is active. */
export async function live (app: FastifyInstance): Promise<void> {
  await waitFor(() => app.mqtt.connected && app.mqtt.subscriptions.every(({ status }) => status === 'active'), 'a live application')
}

/** The brokers that a promise holds on, and how an application reaches each. */
export interface Setting {
  name: string
  skip: string | false
  /** Options for `register`, and the broker where it is a process of its own. */
  start (t: Owner): Promise<{ options: MqttPluginOptions, broker?: Mosquitto }>
}

/** mosquitto with MQTT 5 and with 3.1.1. */
export function mosquittoSettings (config: string[] = []): Setting[] {
  return ([5, 4] as const).map(protocolVersion => ({
    name: `mosquitto, MQTT ${protocolVersion === 5 ? '5' : '3.1.1'}`,
    skip: mosquittoMissing(),
    start: async t => {
      const broker = await startMosquitto(t, { config })
      return { options: { url: broker.url, protocolVersion }, broker }
    }
  }))
}

/** mosquitto in both versions, and the embedded broker. */
export function allSettings (config: string[] = []): Setting[] {
  return [...mosquittoSettings(config), {
    name: 'the embedded broker',
    skip: false,
    start: async () => ({ options: { embedded: true } })
  }]
}
