/** What a test's `t` is to the helpers that it shares with the benchmarks: it ends what they started. */
export class Cleanup {
  readonly #ends: Array<() => unknown> = []

  after (end: () => unknown): void {
    this.#ends.push(end)
  }

  /** Ends everything, the last first. */
  async run (): Promise<void> {
    for (let end = this.#ends.pop(); end !== undefined; end = this.#ends.pop()) await end()
  }
}

/** Runs the work and ends, whatever becomes of it, all that it started. */
export async function withCleanup<T> (work: (owner: Cleanup) => Promise<T>): Promise<T> {
  const owner = new Cleanup()
  try {
    return await work(owner)
  } finally {
    await owner.run()
  }
}
