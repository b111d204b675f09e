import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { waitFor } from '../support/events.ts'

setFlagsFromString('--expose-gc')
const gc = runInNewContext('gc') as () => void

/** How many of these are still in memory when all has been collected that nobody holds. It waits a while for as many as are expected. */
export async function remaining (refs: Iterable<WeakRef<object>>, expected: number): Promise<number> {
  const all = [...refs]
  const count = (): number => all.filter(one => one.deref() !== undefined).length
  await waitFor(() => { gc(); return count() === expected }, 'the memory', { within: 3_000 }).catch(() => {})
  return count()
}
