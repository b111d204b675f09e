import type { PoolTask } from '../lib/index.ts'
import { mqtt } from '../workers/index.ts'
import { readImage, toBytes, type Image } from './image.ts'

// Runs in a thread of the pool. Nothing is wired up: `mqtt` finds the application by itself.
export default async function thumbnail ({ params, payload }: PoolTask<'images/<name>'>): Promise<{ width: number, height: number }> {
  const original = readImage(payload)
  const small = { width: 64, height: Math.round(64 * original.height / original.width) }
  const pixels = new Uint8Array(small.width * small.height)
  for (let y = 0; y < small.height; y++) {
    for (let x = 0; x < small.width; x++) pixels[y * small.width + x] = average(original, small, x, y)
    // Nobody waits for this one: it is sent all the same, and the loop goes on.
    if (y % 12 === 0) void mqtt.publish(`images/${params.name}/progress`, Math.round(100 * y / small.height))
  }
  // This one is confirmed by the broker before the original is acknowledged, so no thumbnail is ever missing.
  await mqtt.publish(`images/${params.name}/thumbnail`, toBytes({ ...small, pixels }), { qos: 1 })
  return small
}

/** The mean of the block of the original that a pixel of the thumbnail stands for. */
function average (original: Image, small: { width: number, height: number }, x: number, y: number): number {
  const from = (at: number, of: number, length: number): number => Math.floor(at * length / of)
  let sum = 0
  let count = 0
  for (let row = from(y, small.height, original.height); row < from(y + 1, small.height, original.height); row++) {
    for (let column = from(x, small.width, original.width); column < from(x + 1, small.width, original.width); column++) {
      sum += original.pixels[row * original.width + column]!
      count++
    }
  }
  return sum / count
}
