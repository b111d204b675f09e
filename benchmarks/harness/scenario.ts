/*
 * What a scenario is. Nothing in this folder knows what is measured.
 */

/** What one competitor reached in one round, by metric. */
export type Figures = Readonly<Record<string, number>>

/** How a metric is shown. */
export interface Metric {
  readonly name: string
  readonly title: string
  /** A larger figure is a better one. */
  readonly more: boolean
}

/** One row of figures: the same work for all competitors. */
export interface Case<Setting> {
  readonly name: string
  readonly setting: Setting
  /** Who takes part, where that is not everybody. */
  readonly competitors?: readonly string[]
}

/** A figure of one competitor in one case. */
export interface Cell {
  readonly case: string
  readonly competitor: string
}

/** What a ratio of two figures has to be. */
export interface Goal {
  readonly metric: string
  readonly of: Cell
  readonly to: Cell
  readonly atLeast?: number
  readonly atMost?: number
}

/** Work that can be measured. Its module is loaded anew, in a process of its own, for each measurement. */
export interface Scenario<Setting = unknown> {
  readonly name: string
  readonly title: string
  readonly metrics: readonly Metric[]
  /** The first is the one that the others are held against. */
  readonly competitors: readonly string[]
  readonly cases: ReadonlyArray<Case<Setting>>
  readonly goals: readonly Goal[]
  /** Warms up, measures for about so many seconds, and throws when the work was not done right. */
  measure (competitor: string, setting: Setting, seconds: number): Promise<Figures>
}

/** The competitors of a case, in order. */
export function competitorsOf (scenario: Scenario, { competitors }: Case<unknown>): readonly string[] {
  return competitors ?? scenario.competitors
}
