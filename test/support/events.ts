import type { EventEmitter } from 'node:events'

/** Long enough for a loaded machine, shorter than tap's own limit, so that a failure names what it waited for. */
const DEADLINE = 30_000

/** How a wait is bounded. */
export interface WaitOptions {
  /** Milliseconds. */
  within?: number
}

/** Resolves when the condition holds, asking again and again; rejects, naming `what`, when time is up. */
export async function waitFor (
  condition: () => boolean | Promise<boolean>, what: string, { within = DEADLINE }: WaitOptions = {}
): Promise<void> {
  const deadline = Date.now() + within
  for (let round = 0; !await condition(); round++) {
    if (Date.now() > deadline) throw new Error(`waited ${within} ms in vain for ${what}`)
    // Most conditions hold within a turn or two, and the others should not keep a processor busy.
    await (round < 20 ? new Promise(resolve => setImmediate(resolve)) : new Promise(resolve => setTimeout(resolve, 5)))
  }
}

/** The promise's result; rejects, naming `what`, when time is up. */
export async function withinTime<T> (promise: Promise<T>, what: string, { within = DEADLINE }: WaitOptions = {}): Promise<T> {
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<never>((_resolve, reject) => {
    timer = setTimeout(() => { reject(new Error(`waited ${within} ms in vain for ${what}`)) }, within)
  })
  try {
    return await Promise.race([promise, late])
  } finally {
    clearTimeout(timer)
  }
}

/**
 * The arguments of the emitter's next such event; rejects when time is up. An 'error' does not end the wait: a reset
 * connection emits one on its way to 'close'. It takes any object, since mqtt.js' typed emitter does not fit Node's type.
 */
export async function nextEvent (
  emitter: object, event: string, { within = DEADLINE }: WaitOptions = {}
): Promise<unknown[]> {
  const next = new Promise<unknown[]>(resolve => {
    (emitter as EventEmitter).once(event, (...args: unknown[]) => { resolve(args) })
  })
  return withinTime(next, `the event '${event}'`, { within })
}
