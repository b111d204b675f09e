/** True for what has to be awaited. Whatever a handler returns is asked: a getter or a Proxy may throw. */
export function isThenable (value: unknown): value is PromiseLike<unknown> {
  if (typeof value !== 'object' || value === null) return false
  try {
    return typeof (value as { then?: unknown }).then === 'function'
  } catch {
    return false
  }
}

/** What was thrown, as an Error. */
export function toError (thrown: unknown): Error {
  try {
    if (thrown instanceof Error) return thrown
  } catch {
    // A Proxy that does not want to be asked.
  }
  return new Error(`A handler threw ${typeof thrown}, not an Error`, { cause: thrown })
}
