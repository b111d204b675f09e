/** Deadlines are met at most this much late: one timer and one sweep serve thousands of publishes. */
const GRAIN = 50

/** One timer for the earliest of many deadlines. It never keeps the process alive. */
export class Deadlines {
  readonly #sweep: (now: number) => number
  #timer: NodeJS.Timeout | undefined
  #due = Infinity

  /** @param sweep ends what is overdue and returns the next deadline, or Infinity */
  constructor (sweep: (now: number) => number) {
    this.#sweep = sweep
  }

  /** Makes sure that a sweep happens by `deadline` (on performance.now()'s clock). */
  watch (deadline: number): void {
    if (deadline >= this.#due) return
    this.#arm(deadline)
  }

  stop (): void {
    clearTimeout(this.#timer)
    this.#due = Infinity
  }

  #arm (deadline: number): void {
    clearTimeout(this.#timer)
    this.#due = deadline
    if (deadline === Infinity) return
    const wait = Math.min(Math.max(deadline - performance.now(), 0) + GRAIN, 2 ** 31 - 1)
    this.#timer = setTimeout(() => {
      this.#due = Infinity
      this.watch(this.#sweep(performance.now()))
    }, wait).unref()
  }
}
