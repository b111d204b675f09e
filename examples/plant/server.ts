import { buildPlant } from './app.ts'

/*
 * npm run build:test && node .build/examples/plant/server.js
 *
 * MQTT_URL     a broker, mqtt://user:secret@host:1883/prefix, instead of the embedded one
 * CLIENT_ID    with MQTT_URL: keeps the session, so that nothing is missed over a restart; one for each process
 * BROKER_PORT  1883, of the embedded broker
 * HOST, PORT   127.0.0.1, 3000
 */

const { MQTT_URL: url, CLIENT_ID: clientId, BROKER_PORT = '1883', HOST = '127.0.0.1', PORT = '3000' } = process.env

const session = clientId === undefined ? {} : { clientId, session: { clean: false, expiry: 3600 } }
const app = await buildPlant({
  logger: true,
  mqtt: url === undefined ? { embedded: { port: Number(BROKER_PORT) } } : { url, ...session }
})

for (const signal of ['SIGINT', 'SIGTERM'] as const) {
  process.once(signal, () => {
    // Requests and handlers end, what was published is confirmed, and then nothing keeps the process alive.
    app.close().catch((error: unknown) => {
      app.log.error(error)
      process.exitCode = 1
    })
  })
}

await app.listen({ host: HOST, port: Number(PORT) })
