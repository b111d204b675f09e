import { once } from 'node:events'
import { Worker } from 'node:worker_threads'
import Fastify from 'fastify'
import multimqtt from '../lib/index.ts'
import type { Search } from './worker-thread.ts'

/*
 * Plain worker threads that publish: three of them look for primes.
 *
 *   npm run build:test && node .build/examples/worker.js
 *
 * The threads have no connection, no port and no address: they publish through the one connection of the application.
 *
 * In your own code it is 'fastify-multimqtt' in place of '../lib/index.ts', and 'fastify-multimqtt/worker' in the thread.
 */

const SEARCHES: Search[] = [
  { from: 0, to: 400_000 },
  { from: 400_000, to: 800_000 },
  { from: 800_000, to: 1_200_000 }
]

const app = Fastify()
await app.register(multimqtt, { embedded: true })

app.mqtt.topic('primes/<int:from>/progress', message => {
  const { percent } = message.json<{ percent: number }>()
  console.log(`from ${message.params.from}: ${percent} %`)
})

let total = 0
const results = new Promise<void>(resolve => {
  let missing = SEARCHES.length
  app.mqtt.topic('primes/<int:from>/found', { qos: 1 }, message => {
    const { from, to, found } = message.json<Search & { found: number }>()
    console.log(`from ${from} to ${to}: ${found} primes`)
    total += found
    if (--missing === 0) resolve()
  })
})

await app.ready()
const ends = SEARCHES.map(async workerData => {
  const worker = new Worker(new URL('./worker-thread.js', import.meta.url), { workerData })
  const [code] = await once(worker, 'exit')
  console.log(`thread of ${workerData.from}: ended with ${String(code)}`)
})

await Promise.all([results, ...ends])
console.log(`${total} primes in all`)
await app.close()
