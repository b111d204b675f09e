import { tracePublish, type PublishEvent } from '../tracing.ts'
import type { PublishOptions, PublishProperties, PublishResult } from '../types/index.ts'
import { payloadLength } from '../wire/encode.ts'
import type { ProtocolVersion } from '../wire/packet.ts'
import { toPayload } from '../wire/payload.ts'
import { checkPublishOptions } from '../wire/publish-options.ts'

/** Whose publishes they are. */
export interface Origin {
  readonly namespace: string | undefined
  readonly source: PublishEvent['source']
  readonly prefix: string
  readonly version: () => ProtocolVersion
}

/** What `publish` was called with. */
interface Call {
  readonly topic: string
  readonly payload: unknown
  readonly options: PublishOptions | undefined
}

/** A publish that somebody watches: its start may set properties, and that is sent. Bad input is `send`'s to reject. */
export function tracedPublish (origin: Origin, call: Call, send: (call: Call) => Promise<PublishResult>): Promise<PublishResult> {
  const read = attempt(() => readCall(call))
  const event = createEvent(origin, call.topic, read)
  return tracePublish(event, () => {
    if (read === undefined) return send(call)
    const { options, payload } = read
    return send({ topic: call.topic, payload, options: event.protocolVersion < 5 ? options : { ...options, properties: sendable(event.properties!) } })
  })
}

interface Read {
  readonly payload: string | Uint8Array
  readonly options: PublishOptions
  readonly properties: NonNullable<PublishEvent['properties']>
}

/** Each thing is read once: the second time a getter or a toJSON may give something else. */
function readCall ({ payload, options = {} }: Call): Read | undefined {
  const checked = checkPublishOptions(options)
  const { userProperties, ...rest } = asObject(checked.properties) as PublishProperties
  return { options: checked, payload: toPayload(payload), properties: { ...rest, userProperties: { ...asObject(userProperties) } } }
}

function createEvent ({ namespace, source, prefix, version }: Origin, topic: unknown, read: Read | undefined): PublishEvent {
  const { qos = 0, retain = false, absolute = false } = read?.options ?? {}
  const text = typeof topic === 'string' ? topic : ''
  return {
    namespace,
    source,
    topic: absolute || prefix === '' ? text : `${prefix}/${text}`,
    qos,
    retain,
    bytes: read === undefined ? 0 : payloadLength(read.payload),
    protocolVersion: version(),
    properties: read?.properties ?? { userProperties: {} },
    result: undefined,
    error: undefined
  }
}

function sendable (properties: PublishProperties): PublishProperties {
  const { userProperties, ...rest } = properties
  const isEmpty = typeof userProperties === 'object' && userProperties !== null && Object.keys(userProperties).length === 0
  return isEmpty ? rest : properties
}

/** @throws where a copy would be accepted and the original is not */
function asObject (value: unknown = {}): object {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw new TypeError('not an object')
  return value
}

function attempt<T> (read: () => T): T | undefined {
  try {
    return read()
  } catch {
    return undefined
  }
}
