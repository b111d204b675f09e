/** Figures of several rounds, summed up. */
export interface Summary {
  readonly median: number
  readonly min: number
  readonly max: number
  /** By round. */
  readonly rounds: readonly number[]
  /** The rounds differ so much that the median says little. */
  readonly noisy: boolean
}

/** A spread, from least to most and as a part of the median, that is still taken for one and the same result. */
export const MAX_SPREAD = 0.4

export function summarize (rounds: readonly number[]): Summary {
  const sorted = [...rounds].sort((a, b) => a - b)
  const min = sorted[0] ?? NaN
  const max = sorted.at(-1) ?? NaN
  const median = (sorted[(sorted.length - 1) >> 1]! + sorted[sorted.length >> 1]!) / 2
  return { median, min, max, rounds, noisy: max - min > MAX_SPREAD * median }
}

/** Round by round, since what disturbs one competitor of a round disturbs the other as well. */
export function ratio (of: readonly number[], to: readonly number[]): Summary {
  const count = Math.min(of.length, to.length)
  return summarize(Array.from({ length: count }, (_, round) => of[round]! / to[round]!))
}

/** The value below which this part of a sorted list lies. */
export function percentile (sorted: Float64Array, part: number): number {
  return sorted[Math.min(Math.floor(sorted.length * part), sorted.length - 1)] ?? NaN
}
