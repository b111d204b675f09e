import { performance } from 'node:perf_hooks'
import { payloadOf, TOPICS } from './messages.ts'
import type { Publisher } from './publisher.ts'

/** What a competitor is asked to publish. */
export interface Load {
  readonly size: number
  /** How many publishes are under way at once, nobody awaiting one before the next. */
  readonly window: number
}

/** The clock is not looked at for each publish. */
const CLOCK_EVERY = 64

/**
 * Publishes for so many seconds, then waits until all has come to the broker. Returns how many. Publishing needs no turn
 * of the event loop of its own, so neither does stopping.
 */
export async function pump (publisher: Publisher, { size, window }: Load, seconds: number): Promise<number> {
  const payload = payloadOf(size)
  const end = performance.now() + seconds * 1000
  let sent = 0
  let open = 0
  let filling = false
  let running = true
  await new Promise<void>((resolve, reject) => {
    const done = (outcome?: unknown): void => {
      if (outcome instanceof Error) {
        running = false
        reject(outcome)
      }
      open--
      fill()
    }
    const fill = (): void => {
      // Some call back before they return.
      if (filling) return
      filling = true
      while (open < window && running) {
        open++
        publisher.send(TOPICS[sent % TOPICS.length]!, payload, done)
        if (++sent % CLOCK_EVERY === 0 && performance.now() > end) running = false
      }
      filling = false
      if (open === 0) resolve()
    }
    fill()
  })
  await publisher.barrier()
  return sent
}
