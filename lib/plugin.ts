import type { FastifyInstance } from 'fastify'
import fp from 'fastify-plugin'
import { FST_MQTT_OPTIONS } from './errors.ts'
import { Mount } from './mount.ts'
import { resolveOptions } from './options/resolve.ts'
import type { MqttPluginOptions } from './options/plugin-options.ts'
import { Runtime } from './runtime.ts'

/** The connections of a Fastify application; the first is `app.mqtt`, others hang on it. */
const mounts = new WeakMap<object, Mount>()

async function multimqtt (app: FastifyInstance, options: MqttPluginOptions): Promise<void> {
  const resolved = resolveOptions(options)
  const { namespace } = resolved
  const first = mounts.get(app)
  // Checked before anything is built: workers could find what a failed register leaves behind.
  if (namespace === undefined && app.hasDecorator('mqtt')) throw FST_MQTT_OPTIONS('namespace: the plugin is registered already; a further connection needs one')
  if (namespace !== undefined && first === undefined) throw FST_MQTT_OPTIONS('namespace: register the plugin without one first, on the same instance')
  if (namespace !== undefined) first!.checkNamespace(namespace)

  const runtime = new Runtime(app, resolved)
  const mount = new Mount(runtime.parts, runtime.scope, first)
  if (namespace === undefined) {
    app.decorate('mqtt', { getter (this: FastifyInstance) { return mount.facadeOf(this) as unknown as FastifyInstance['mqtt'] } })
    mounts.set(app, mount)
  } else {
    first!.addNamespace(namespace, mount)
  }
  app.addHook('onRegister', (instance, options) => mount.registered(instance, (options as { mqttPrefix?: unknown }).mqttPrefix))
  // A truthy value resolved by these hooks would count as an error.
  app.addHook('onReady', async () => { await runtime.start() })
  app.addHook('preClose', async () => { await runtime.stop() })
  app.addHook('onClose', async () => { await runtime.close() })
}

/**
 * MQTT for Fastify: `await app.register(multimqtt, { url: 'mqtt://...' })`, then `app.mqtt`.
 *
 * `register` only builds and decorates. Connecting starts when the application is ready, and is not waited for
 * unless `waitForConnection` says so; `app.close()` drains and disconnects.
 */
export default fp(multimqtt, { name: 'fastify-multimqtt', fastify: '5.x' })
