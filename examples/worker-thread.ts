import { workerData } from 'node:worker_threads'
import { mqtt } from '../workers/index.ts'

/** Looks for primes in a range. */
export interface Search {
  from: number
  to: number
}

const { from, to } = workerData as Search
const steps = 4
let found = 0

for (let step = 0; step < steps; step++) {
  const begin = from + step * (to - from) / steps
  found += countPrimes(begin, begin + (to - from) / steps)
  // Awaiting keeps the thread from running ahead of the broker. With QoS 0, handing over is enough.
  await mqtt.publish(`primes/${from}/progress`, { percent: 100 * (step + 1) / steps })
}

// Nothing keeps this thread alive now, and nobody waits for the publish. It is delivered all the same.
void mqtt.publish(`primes/${from}/found`, { from, to, found }, { qos: 1 })

function countPrimes (begin: number, end: number): number {
  let count = 0
  for (let n = begin; n < end; n++) if (isPrime(n)) count++
  return count
}

function isPrime (n: number): boolean {
  for (let divisor = 2; divisor * divisor <= n; divisor++) if (n % divisor === 0) return false
  return n > 1
}
