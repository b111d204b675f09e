import type { FastifyInstance } from 'fastify'
import type { MqttPluginOptions, PublishOptions, PublishResult } from '../../lib/index.ts'
import { buildApp, live } from '../support/app.ts'
import type { Owner } from '../support/folder.ts'
import type { RecordingLogger } from '../support/logger.ts'
import { startScriptedBroker, type Script, type ScriptedBroker } from './scripted-broker.ts'

/** An application on a scripted broker. */
export interface Scripted {
  app: FastifyInstance
  broker: ScriptedBroker
  logger: RecordingLogger
}

/** How the whole plugin behaves on a broker that does what the script says; it reconnects without a rest. */
export async function scriptedApp (t: Owner, script: Script, options: MqttPluginOptions = {}): Promise<Scripted> {
  const broker = await startScriptedBroker(t, script)
  const { app, logger } = await buildApp(t, {
    url: broker.url, protocolVersion: 5, reconnect: { min: 1, max: 10 }, closeTimeout: 300, ...options
  })
  return { app, broker, logger }
}

/** The same, connected and subscribed. */
export async function liveApp (t: Owner, script: Script, options: MqttPluginOptions = {}, prepare: (app: FastifyInstance) => void = () => {}): Promise<Scripted> {
  const scripted = await scriptedApp(t, script, options)
  prepare(scripted.app)
  await scripted.app.ready()
  await live(scripted.app)
  return scripted
}

/** How a publish ended, as a value. */
export interface Outcome {
  code: string
  reasonCode?: number | undefined
  maybeSent?: boolean | undefined
}

/** Publishes and tells how it ended: `code` is 'ok' or the error's. */
export async function outcome (promise: Promise<PublishResult>): Promise<Outcome> {
  try {
    const { reasonCode } = await promise
    return { code: 'ok', reasonCode }
  } catch (error) {
    const { code, reasonCode, maybeSent } = error as Outcome
    return { code, reasonCode, maybeSent }
  }
}

/** Publishes numbered messages `from` to `to`, payload the number, and tells how each ended. */
export function publishAll (app: FastifyInstance, from: number, to: number, options: PublishOptions | ((n: number) => PublishOptions)): Promise<Outcome[]> {
  const running: Array<Promise<Outcome>> = []
  for (let n = from; n <= to; n++) {
    running.push(outcome(app.mqtt.publish('n', n, typeof options === 'function' ? options(n) : options)))
  }
  return Promise.all(running)
}

/** `from` to `to` as text. */
export function numbers (from: number, to: number): string[] {
  return Array.from({ length: to - from + 1 }, (_, i) => String(from + i))
}
