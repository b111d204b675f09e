import { once } from 'node:events'
import { Worker } from 'node:worker_threads'
import t from 'tap'
import { PLAIN } from '../bridge/threads.ts'
import { withinTime } from '../support/events.ts'
import type { Throwing } from './fixtures/throwing.ts'

t.test('what a watcher throws is an uncaught exception, as Node has it, and the message takes no harm', async t => {
  const worker = new Worker(new URL('./fixtures/throwing.js', import.meta.url), PLAIN)
  t.after(() => worker.terminate())
  const [told] = await withinTime(once(worker, 'message'), 'the end of the message') as [Throwing]
  t.match(told, { results: ['handled'], reasonCode: 0, published: 1 })
  t.strictSame(told.uncaught.sort(), [
    'handle asyncEnd', 'handle asyncStart', 'handle end', 'handle start', 'handle transform',
    'publish asyncEnd', 'publish asyncStart', 'publish end', 'publish start'
  ])
})
