import { publishes, tellPublished, type PublishEvent } from '../tracing.ts'
import { Cursor } from '../wire/cursor.ts'
import type { NativeBuffer, ProtocolVersion } from '../wire/packet.ts'
import type { FrameLayout } from '../wire/rewrite.ts'

/** The publishes of one worker that somebody watches. They are encoded: there is nothing to be changed any more. */
export class TracedFrames {
  readonly #namespace: string | undefined
  readonly #source: PublishEvent['source']
  readonly #events = new Map<number, PublishEvent>()

  constructor (namespace: string | undefined, source: PublishEvent['source']) {
    this.#namespace = namespace
    this.#source = source
  }

  /** @param seq the number of the publish */
  begin (seq: number, buffer: Buffer, layout: FrameLayout, protocolVersion: ProtocolVersion): void {
    if (!publishes.hasSubscribers) return
    const { topicStart, topicEnd, end, qos, retain } = layout
    const event: PublishEvent = {
      namespace: this.#namespace,
      source: this.#source,
      topic: (buffer as NativeBuffer).utf8Slice(topicStart, topicEnd),
      qos,
      retain,
      bytes: end - payloadStart(buffer, layout, protocolVersion),
      protocolVersion,
      properties: undefined,
      result: undefined,
      error: undefined
    }
    this.#events.set(seq, event)
    publishes.start.runStores(event, noop)
    publishes.end.publish(event)
  }

  settle (first: number, count: number, error: Error | null, reasonCode: number): void {
    for (let seq = first; this.#events.size > 0 && seq < first + count; seq++) {
      const event = this.#events.get(seq)
      if (event === undefined) continue
      this.#events.delete(seq)
      tellPublished(event, error, { reasonCode })
    }
  }
}

function payloadStart (buffer: Buffer, { qos, idAt, end }: FrameLayout, version: ProtocolVersion): number {
  const cursor = new Cursor(buffer, qos === 0 ? idAt : idAt + 2, end)
  if (version < 5) return cursor.at
  const length = cursor.varint()
  return cursor.at + length
}

function noop (): void {}
