import { isUtf8 } from 'node:buffer'
import type { Message } from '../../lib/index.ts'
import type { MessageEntry } from './feed.ts'

const SHOWN_BYTES = 600
// A topic may have 65 535 bytes.
const SHOWN_TOPIC = 300

/** A message as the page lists it. */
export function describeMessage (message: Message, kind: MessageEntry['kind'], subscribed: boolean): MessageEntry {
  const { topic, payload, qos, retain, receivedAt } = message
  return {
    type: 'message',
    kind,
    topic: topic.length > SHOWN_TOPIC ? `${topic.slice(0, SHOWN_TOPIC)}…` : topic,
    payload: preview(payload),
    size: payload.length,
    cut: payload.length > SHOWN_BYTES,
    qos,
    retain,
    at: receivedAt,
    subscribed
  }
}

function preview (payload: Buffer): string {
  const shown = payload.subarray(0, SHOWN_BYTES)
  return isUtf8(payload) ? shown.toString() : shown.toString('hex')
}
