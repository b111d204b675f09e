import { subscribe, tracingChannel, unsubscribe } from 'node:diagnostics_channel'
import type { HandleEvent, PublishEvent } from '../../lib/index.ts'
import type { Owner } from '../support/folder.ts'

/** What a tracing channel has told. */
export interface Told<E> {
  /** Each as `start`, `end`, `error`, `asyncStart` or `asyncEnd`. */
  readonly names: string[]
  readonly events: E[]
  /** The names again, by event, in the order in which they began. */
  readonly byEvent: () => Array<{ event: E, names: string[] }>
}

/** Listens to a tracing channel until the test ends. `on` is called with each. */
function record<E extends object> (t: Owner, channel: string, on: (name: string, event: E) => void): Told<E> {
  const told: Told<E> = {
    names: [],
    events: [],
    byEvent: () => [...new Set(told.events)].map(event => ({ event, names: told.names.filter((_, i) => told.events[i] === event) }))
  }
  for (const name of ['start', 'end', 'error', 'asyncStart', 'asyncEnd']) {
    listen(t, `tracing:${channel}:${name}`, event => {
      told.names.push(name)
      told.events.push(event as E)
      on(name, event as E)
    })
  }
  return told
}

export function recordHandling (t: Owner, on: (name: string, event: HandleEvent) => void = () => {}): Told<HandleEvent> {
  return record(t, 'fastify-multimqtt.handle', on)
}

export function recordPublishes (t: Owner, on: (name: string, event: PublishEvent) => void = () => {}): Told<PublishEvent> {
  return record(t, 'fastify-multimqtt.publish', on)
}

/** What a plain channel tells until the test ends. */
export function recordPlain<E> (t: Owner, channel: string): E[] {
  const events: E[] = []
  listen(t, channel, event => { events.push(event as E) })
  return events
}

function listen (t: Owner, channel: string, listener: (event: unknown) => void): void {
  subscribe(channel, listener)
  t.after(() => { unsubscribe(channel, listener) })
}

/** The channels, for those who bind stores to them. */
export const handleChannel = tracingChannel<unknown, HandleEvent>('fastify-multimqtt.handle')
export const publishChannel = tracingChannel<unknown, PublishEvent>('fastify-multimqtt.publish')
