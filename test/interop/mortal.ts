import { fork, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import { withinTime } from '../support/events.ts'
import type { Owner } from '../support/folder.ts'
import type { MortalOrders } from './fixtures/mortal-app.ts'

const APP = fileURLToPath(new URL('./fixtures/mortal-app.js', import.meta.url))

/** Starts an application with a will, in a process of its own, and waits until it is live. It ends with the test. */
export async function startMortal (t: Owner, orders: MortalOrders): Promise<ChildProcess> {
  // Without the loaders of the test runner.
  const child = fork(APP, [JSON.stringify(orders)], { execArgv: [], env: { ...process.env, NODE_OPTIONS: '' } })
  t.after(() => { child.kill('SIGKILL') })
  await withinTime(Promise.race([
    once(child, 'message'),
    once(child, 'exit').then(() => { throw new Error('the application ended by itself') })
  ]), 'a live application')
  return child
}

/** Kills it, or has it close, and waits for its end. */
export async function endMortal (child: ChildProcess, how: 'killed' | 'closed'): Promise<void> {
  const exit = once(child, 'exit')
  if (how === 'killed') child.kill('SIGKILL')
  else child.send('close')
  await withinTime(exit, 'the end of the application')
}
