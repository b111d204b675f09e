import { AsyncLocalStorage } from 'node:async_hooks'
import type { Passage } from './publish-hooks.ts'
import type { Source } from './source.ts'

/*
 * What hooks publish themselves. It does not pass the hook that publishes it, which would never end, and does not wait
 * its turn behind the publish that this hook holds up, which would not end either. So it has to be known which hook runs.
 */

/** A call of a hook. */
export interface HookCall {
  readonly hook: object
  readonly passage: Passage
  over: boolean
}

/** The innermost call whose first part runs, up to where it waits. */
let innermost: HookCall | undefined
/** The call behind what a hook does after it has waited for something. */
const calls = new AsyncLocalStorage<HookCall>()
/** Calls in it that are not over. */
let following = 0
/**
 * Hooks that have given a promise, and those that have not. Following what they do after waiting slows down every promise of
 * the process (before Node 24), so it is done for those that wait, and for the first call of those of which that is not known.
 */
const waits = new WeakMap<object, boolean>()
const AsyncFunction = (async () => {}).constructor

/** The call of a hook that this is part of. */
export function currentCall (): HookCall | undefined {
  let call = innermost ?? calls.getStore()
  while (call?.over === true) call = call.passage.outer
  return call
}

/** True when what a hook publishes through this source would wait for the end of that hook. */
export function waitsForItself (call: HookCall | undefined, source: Source): boolean {
  for (; call !== undefined; call = call.passage.outer) {
    if (!call.over && call.passage.holds(source)) return true
  }
  return false
}

/** Calls a hook; gives a promise only when it does, and throws what it throws. */
export function callHook (hook: object, passage: Passage, run: () => unknown): Promise<unknown> | undefined {
  const call: HookCall = { hook, passage, over: false }
  const known = waits.get(hook) ?? (hook instanceof AsyncFunction || undefined)
  const follows = known !== false
  if (follows) following++
  const before = innermost
  innermost = call
  let promise: Promise<unknown> | undefined
  try {
    const result = follows ? calls.run(call, run) : run()
    // Asked in here: a getter may throw.
    if (typeof (result as PromiseLike<unknown> | null | undefined)?.then === 'function') promise = Promise.resolve(result)
    else if (known === undefined) waits.set(hook, false)
  } finally {
    innermost = before
    if (promise === undefined) end(call, follows)
  }
  if (promise === undefined) {
    if (known === undefined && following === 0) calls.disable()
    return undefined
  }
  if (known !== true) waits.set(hook, true)
  return ending(promise, call, follows)
}

function end (call: HookCall, follows: boolean): void {
  call.over = true
  if (follows) following--
}

async function ending (promise: Promise<unknown>, call: HookCall, follows: boolean): Promise<unknown> {
  try {
    return await promise
  } finally {
    end(call, follows)
  }
}
