import { performance } from 'node:perf_hooks'
import { payloadOf, TOPICS } from './messages.ts'
import type { Publisher } from './publisher.ts'

/* Loads that leave a publisher room to breathe. Both return how many they published. */

/** One after the other, each awaited. */
export async function oneByOne (publisher: Publisher, size: number, seconds: number): Promise<number> {
  const payload = payloadOf(size)
  const end = performance.now() + seconds * 1000
  let sent = 0
  do {
    for (let i = 0; i < 16; i++) await publisher.publish(TOPICS[sent++ % TOPICS.length]!, payload)
  } while (performance.now() < end)
  await publisher.barrier()
  return sent
}

/** So many a second, evenly; how long each took to settle, in milliseconds, goes into `latencies`. */
export async function paced (publisher: Publisher, size: number, rate: number, seconds: number, latencies: number[]): Promise<number> {
  const payload = payloadOf(size)
  const start = performance.now()
  const total = Math.round(rate * seconds)
  let sent = 0
  await new Promise<void>((resolve, reject) => {
    const timer = setInterval(() => {
      // A timer that comes late catches up.
      for (const due = Math.min((performance.now() - start) / 1000 * rate, total); sent < due; sent++) {
        const from = performance.now()
        publisher.send(TOPICS[sent % TOPICS.length]!, payload, outcome => {
          if (outcome instanceof Error) reject(outcome)
          latencies.push(performance.now() - from)
          if (latencies.length === total) resolve()
        })
      }
      if (sent >= total) clearInterval(timer)
    }, 1)
  })
  await publisher.barrier()
  return sent
}
