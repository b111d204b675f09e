import { setTimeout as sleep } from 'node:timers/promises'
import { waitFor } from '../../test/support/events.ts'
import { countAllocations } from '../harness/allocations.ts'
import { withCleanup, type Cleanup } from '../harness/cleanup.ts'
import { startClock } from '../harness/clock.ts'
import type { Figures } from '../harness/scenario.ts'
import { perMessage } from './metrics.ts'
import { WARM_UP } from './names.ts'
import { busy, startNullBroker } from './null-broker.ts'
import { same } from './publishing.ts'

/**
 * Is sent messages of 256 B as fast as it takes them.
 *
 * @param subscribe returns how many have come to the handler
 */
export async function measureReceiving (qos: 0 | 1, seconds: number, subscribe: (owner: Cleanup, url: string) => Promise<() => number>): Promise<Figures> {
  return await withCleanup(async owner => {
    const broker = await startNullBroker(owner)
    const received = await subscribe(owner, broker.url)
    await broker.flood({ qos, size: 256, window: 1_000 })
    // These waits are the measurement.
    await sleep(WARM_UP * 1000)
    const before = await broker.counts()
    const from = received()
    const allocated = countAllocations()
    const stop = startClock()
    await sleep(seconds * 1000)
    const took = stop()
    const count = received() - from
    const heap = allocated() / count
    const after = await broker.stopFlood()
    await waitFor(() => received() >= after.sent, 'what was sent')
    same('received', received(), after.sent)
    return { ...perMessage(took, count), heap, broker: busy(before, after) }
  })
}
