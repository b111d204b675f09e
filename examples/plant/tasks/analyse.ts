import type { PoolTask } from '../../../lib/index.ts'
import { mqtt } from '../../../workers/index.ts'
import type { Vibration } from '../schemas.ts'
import { vibration, type waveform } from '../topics.ts'

const SAMPLES_PER_SECOND = 1_000
const MOST = 4_096

/** Runs in a thread of the pool, and publishes through the connection of the application. */
export default async function analyse ({ params, payload }: PoolTask<typeof waveform>): Promise<Vibration> {
  const samples = readSamples(payload)
  const result = {
    rms: Math.sqrt(samples.reduce((sum, x) => sum + x * x, 0) / samples.length),
    peak: samples.reduce((most, x) => Math.max(most, Math.abs(x)), 0),
    hertz: strongest(samples) * SAMPLES_PER_SECOND / samples.length
  }
  // Confirmed before the waveform is acknowledged: no result is ever missing.
  await mqtt.publish(vibration, params, result, { qos: 1 })
  return result
}

function readSamples (bytes: Uint8Array): Float64Array {
  const count = bytes.length / 4
  if (!Number.isInteger(count) || count < 2 || count > MOST) {
    throw new Error(`a waveform has 2 to ${MOST} floats of 4 bytes, not ${bytes.length} bytes`)
  }
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length)
  const samples = Float64Array.from({ length: count }, (_, i) => view.getFloat32(4 * i, true))
  if (!samples.every(Number.isFinite)) throw new Error('a waveform holds finite numbers')
  return samples
}

/** How many waves of the strongest frequency there are in the samples: the bin of a Fourier transform with the most power. */
function strongest (samples: Float64Array): number {
  let found = 0
  let most = 0
  for (let waves = 1; waves <= samples.length / 2; waves++) {
    let [real, imaginary] = [0, 0]
    for (const [i, x] of samples.entries()) {
      const angle = 2 * Math.PI * waves * i / samples.length
      real += x * Math.cos(angle)
      imaginary += x * Math.sin(angle)
    }
    const power = real * real + imaginary * imaginary
    if (power > most) [found, most] = [waves, power]
  }
  return found
}
