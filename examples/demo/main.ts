import type { FastifyInstance } from 'fastify'
import type { MqttError } from '../../lib/index.ts'
import { buildDemo, type DemoOptions } from './app.ts'
import { freeOrAny } from './ports.ts'
import { describeBroker, tips } from './tips.ts'

/*
 * npm start
 *
 * PORT      where the page is; 3000, or a free one when that is taken
 * HOST      127.0.0.1
 * MQTT_URL  a real broker, mqtt://user:secret@host:1883/prefix, instead of the embedded one
 * DEVICES   how many devices to simulate; 4
 * LOG_LEVEL warn
 */

const host = process.env.HOST || '127.0.0.1'
const url = process.env.MQTT_URL || undefined

const app = await build({
  url,
  brokerPort: url === undefined ? await freeOrAny(1883, '127.0.0.1') : 0,
  devices: Number(process.env.DEVICES || 4),
  logLevel: process.env.LOG_LEVEL || 'warn'
})

async function build (options: DemoOptions): Promise<FastifyInstance> {
  try {
    return await buildDemo(options)
  } catch (error) {
    if ((error as MqttError).code !== 'FST_MQTT_OPTIONS') throw error
    console.error(`\n  MQTT_URL is of no use: ${(error as Error).message}\n`)
    return process.exit(1)
  }
}

for (const signal of ['SIGINT', 'SIGTERM'] as const) {
  process.once(signal, () => {
    console.log('\n  Closing: devices stop, what was published is confirmed, then the connection ends.')
    app.close().then(() => { process.exit(0) }, error => {
      console.error(error)
      process.exit(1)
    })
  })
}

const origin = await app.listen({ host, port: await freeOrAny(Number(process.env.PORT || 3000), host) })
const broker = describeBroker(app, url)

console.log(`
  fastify-multimqtt demo

  Open    ${origin}
  Broker  ${broker.label}${broker.embedded ? ' (embedded in this process)' : ''}
  Stop    Ctrl+C

  Try next
${tips(app, broker, origin).map(({ text, line }) => `
    ${text}
      ${line}`).join('\n')}
`)
