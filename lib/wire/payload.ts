import { types } from 'node:util'
import { FST_MQTT_PAYLOAD } from '../errors.ts'

/**
 * What goes over the wire for a publish's payload: text as a string, everything else as bytes.
 *
 * Bytes are a view on the caller's memory: encode or copy them before anything else can run, and read them only once,
 * because another thread may write to what lies in shared memory. A lone surrogate in a string is
 * sent as U+FFFD, as TextEncoder, fetch and WebSocket do: a payload is bytes, and unlike a topic's
 * (MQTT 5 section 1.5.4) they are no one's address. JSON escapes lone surrogates, so nothing is lost there.
 */
export function toPayload (payload: unknown): string | Uint8Array {
  switch (typeof payload) {
    case 'string': return payload
    case 'undefined': return ''
    case 'number':
    case 'boolean':
    case 'bigint': return String(payload)
    case 'function':
    case 'symbol': throw new FST_MQTT_PAYLOAD(`A ${typeof payload} cannot be sent as a payload`)
    case 'object':
  }
  if (payload === null) return ''
  if (ArrayBuffer.isView(payload)) return viewBytes(payload)
  if (types.isAnyArrayBuffer(payload)) return bufferBytes(payload)
  return json(payload)
}

function viewBytes (view: ArrayBufferView): Uint8Array {
  // DataView throws where typed arrays say 0.
  let length = 0
  try { length = view.byteLength } catch { throw detached() }
  if (length === 0) {
    assertAttached(view)
    return view instanceof Uint8Array ? view : new Uint8Array(0)
  }
  // Whether the memory is shared is not asked: `buffer` of a view takes longer than all the rest of this.
  return view instanceof Uint8Array ? view : new Uint8Array(view.buffer, view.byteOffset, length)
}

function bufferBytes (buffer: ArrayBufferLike): Uint8Array {
  // A detached buffer has length 0 like an empty one; only making a view on it tells.
  try { return new Uint8Array(buffer) } catch { throw detached() }
}

/** A view that lost its memory looks empty, but its methods throw. */
function assertAttached (view: ArrayBufferView): void {
  if (!types.isTypedArray(view)) return
  try { Uint8Array.prototype.keys.call(view as Uint8Array) } catch { throw detached() }
}

function detached (): Error {
  return new FST_MQTT_PAYLOAD('The payload\'s memory is gone: its ArrayBuffer was transferred, detached or resized')
}

function json (payload: object): string {
  if (isThenable(payload)) throw new FST_MQTT_PAYLOAD('The payload is a promise; await it before publishing')
  let text: string | undefined
  try { text = JSON.stringify(payload) } catch (error) {
    throw new FST_MQTT_PAYLOAD(`The payload cannot be turned into JSON: ${jsonFailure(error)}`)
  }
  if (typeof text !== 'string') {
    throw new FST_MQTT_PAYLOAD('The payload cannot be turned into JSON: its toJSON gives nothing that JSON has')
  }
  return text
}

function isThenable (payload: object): boolean {
  // A getter that throws is JSON.stringify's to meet.
  try { return typeof (payload as { then?: unknown }).then === 'function' } catch { return false }
}

/** The engine's messages hold names of properties, and those of a toJSON may hold anything, so neither is passed on. */
function jsonFailure (error: unknown): string {
  // Not instanceof: what a toJSON throws may be a Proxy that throws again.
  if (types.isNativeError(error) && typeof error.message === 'string') {
    if (error.name === 'RangeError') return 'it is too large or too deep'
    if (error.message.includes('circular structure')) return 'it holds itself'
    if (error.message.includes('BigInt')) return 'it holds a bigint; use a string'
  }
  return 'its toJSON or a getter threw'
}
