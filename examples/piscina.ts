import Fastify from 'fastify'
import { Piscina } from 'piscina'
import multimqtt, { poolHandler } from '../lib/index.ts'
import { draw, readImage, toBytes, toText } from './image.ts'

/*
 * Thumbnails: a handler that runs in a pool of worker threads, and publishes from there.
 *
 *   npm run build:test && node .build/examples/piscina.js
 *
 * Pictures come in by MQTT. Scaling one down takes its time, so it is done in the pool, and this thread stays free for
 * HTTP. The task publishes its progress and the thumbnail through the connection of this application. A picture is
 * acknowledged when its task has ended; if a thread dies, its message fails and the pool goes on with another.
 *
 * In your own code it is 'fastify-multimqtt' in place of '../lib/index.ts', and 'fastify-multimqtt/worker' in the task.
 */

const app = Fastify()
await app.register(multimqtt, { embedded: true })

const pool = new Piscina({ filename: new URL('./piscina-task.js', import.meta.url).href, minThreads: 2, maxThreads: 2 })
// When this runs, handlers have ended, and their tasks with them.
app.addHook('onClose', async () => { await pool.close() })

const pictures = {
  whole: draw({ x: -0.6, y: 0 }, 3.2),
  seahorses: draw({ x: -0.745, y: 0.113 }, 0.03),
  elephants: draw({ x: 0.285, y: 0.01 }, 0.05),
  island: draw({ x: -1.768, y: 0.001 }, 0.06)
}

app.mqtt.topic('images/<name>', { qos: 1, handlerTimeout: 30_000 }, poolHandler(pool))

app.mqtt.topic('images/<name>/progress', ({ params, body }) => { console.log(`${params.name}: ${String(body)} %`) })

const thumbnails = new Promise<void>(resolve => {
  let missing = Object.keys(pictures).length
  app.mqtt.topic('images/<name>/thumbnail', { qos: 1 }, ({ params, payload }) => {
    const { width, height, pixels } = readImage(payload)
    console.log(`${params.name}: a thumbnail of ${width} x ${height}, ${payload.length} bytes`)
    if (params.name === 'whole') console.log(toText({ width, height, pixels }))
    if (--missing === 0) resolve()
  })
})

app.mqtt.setErrorHandler((error, { topic }) => { console.error(`${topic}: ${error.message}`) })

await app.ready()
for (const [name, picture] of Object.entries(pictures)) {
  const file = toBytes(picture)
  console.log(`${name}: ${picture.width} x ${picture.height}, ${file.length} bytes`)
  await app.mqtt.publish(`images/${name}`, file, { qos: 1 })
}

await thumbnails
await app.close()
const { published, handled, failed } = app.mqtt.status().counters
console.log(`${published} published, ${handled} handled, ${failed} failed`)
