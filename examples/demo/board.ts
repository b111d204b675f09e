import type { DeviceModel, Settings } from './device.ts'
import { metrics, type Metric } from './topics.ts'

export type Point = [at: number, value: number]

/** A device as the page knows it. */
export interface BoardDevice {
  id: number
  name: string
  /** Its colour, the same in every chart and every browser. */
  slot: number
  simulated: boolean
  /** What it last said about itself. */
  reported: Partial<Settings> | null
}

interface Entry extends BoardDevice {
  series: Record<Metric, Point[]>
  seenAt: number
}

/** A chart's width in time. */
export const WINDOW = 60_000

// As many as there are colours that people tell apart.
const MAX_DEVICES = 6
const MIN_GAP = 100
const MAX_POINTS = WINDOW / MIN_GAP

/**
 * What the charts show: the last minute of every device, the simulated ones and whoever else publishes telemetry.
 * Whatever the outside sends, it holds no more than MAX_DEVICES x metrics x MAX_POINTS points.
 */
export class Board {
  readonly #entries = new Map<number, Entry>()

  constructor (simulated: Iterable<DeviceModel>) {
    for (const { id, name } of simulated) this.#add(id, name, true)
  }

  /** Takes a reading in; false when there is no room for one more device. */
  value (id: number, metric: Metric, value: number, at: number): boolean {
    const entry = this.#entry(id, at)
    if (entry === undefined) return false
    entry.seenAt = at
    const series = entry.series[metric]
    const last = series.at(-1)
    if (last !== undefined && at - last[0] < MIN_GAP) last[1] = value
    else series.push([at, value])
    while (series.length > MAX_POINTS || series[0]![0] < at - WINDOW - 2_000) series.shift()
    return true
  }

  report (id: number, reported: Partial<Settings>): void {
    const entry = this.#entry(id, Date.now())
    if (entry !== undefined) entry.reported = reported
  }

  devices (): BoardDevice[] {
    this.#forgetSilent(Date.now())
    return [...this.#entries.values()]
      .map(({ id, name, slot, simulated, reported }) => ({ id, name, slot, simulated, reported }))
  }

  history (): Array<{ id: number, series: Record<Metric, Point[]> }> {
    return [...this.#entries.values()].map(({ id, series }) => ({ id, series }))
  }

  #entry (id: number, now: number): Entry | undefined {
    const entry = this.#entries.get(id)
    if (entry !== undefined) return entry
    this.#forgetSilent(now)
    return this.#add(id, `Device ${id}`, false)
  }

  #add (id: number, name: string, simulated: boolean): Entry | undefined {
    const taken = new Set([...this.#entries.values()].map(entry => entry.slot))
    const slot = Array.from({ length: MAX_DEVICES }, (_, i) => i).find(i => !taken.has(i))
    if (slot === undefined) return undefined
    const series = Object.fromEntries(metrics.map(metric => [metric, []])) as unknown as Record<Metric, Point[]>
    const entry: Entry = { id, name, slot, simulated, reported: null, series, seenAt: Date.now() }
    this.#entries.set(id, entry)
    return entry
  }

  #forgetSilent (now: number): void {
    for (const [id, entry] of this.#entries) {
      if (!entry.simulated && entry.seenAt < now - WINDOW) this.#entries.delete(id)
    }
  }
}
