import { AsyncLocalStorage } from 'node:async_hooks'
import { randomBytes } from 'node:crypto'
import type { Owner } from '../support/folder.ts'
import { handleChannel, publishChannel } from './record.ts'

/** A piece of work in a trace (https://www.w3.org/TR/trace-context/). */
export interface Span {
  readonly trace: string
  readonly id: string
  readonly parent: string | undefined
  readonly name: string
}

export interface Tracer {
  /** In the order in which they began. */
  readonly spans: Span[]
  /** The span that this is part of. */
  readonly current: () => Span | undefined
  /** Runs something as a piece of work without a parent. */
  readonly root: <R>(name: string, run: () => R) => R
}

/** Carries traces from message to message as docs/observability.md does, until the test ends. */
export function startTracer (t: Owner): Tracer {
  const store = new AsyncLocalStorage<Span | undefined>()
  const spans: Span[] = []
  const begin = (name: string, parent: Pick<Span, 'trace' | 'id'> | undefined): Span => {
    const span = { trace: parent?.trace ?? randomBytes(16).toString('hex'), id: randomBytes(8).toString('hex'), parent: parent?.id, name }
    spans.push(span)
    return span
  }
  handleChannel.start.bindStore(store, ({ message, route }) => begin(`handle ${route}`, parse(message.properties.userProperties?.traceparent)))
  publishChannel.start.bindStore(store, ({ properties }) => {
    if (properties === undefined) return undefined
    const span = begin('publish', store.getStore())
    properties.userProperties.traceparent = format(span)
    return span
  })
  t.after(() => {
    handleChannel.start.unbindStore(store)
    publishChannel.start.unbindStore(store)
  })
  return { spans, current: () => store.getStore(), root: (name, run) => store.run(begin(name, undefined), run) }
}

export function format ({ trace, id }: Pick<Span, 'trace' | 'id'>): string {
  return `00-${trace}-${id}-01`
}

export function parse (traceparent: string | string[] | undefined): Pick<Span, 'trace' | 'id'> | undefined {
  const [, trace, id] = /^00-([0-9a-f]{32})-([0-9a-f]{16})-/.exec(String(traceparent)) ?? []
  return trace === undefined || id === undefined ? undefined : { trace, id }
}
