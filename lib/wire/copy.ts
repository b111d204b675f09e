/* Copies of what callers give, where it has to last: they may do with their memory what they like. */

/** As long as the engine says that it is: a view can say anything about its length, and the rest would be other people's bytes. */
export function copyOf (payload: string | Uint8Array): Buffer {
  if (typeof payload === 'string') return Buffer.from(payload)
  const { buffer, length } = new Uint8Array(payload)
  return Buffer.from(buffer, 0, length)
}

/** All the way down. What is wrong in it is for `encodeProperties` to find. */
export function copyProperties<T extends object> (properties: T): T {
  if (typeof properties !== 'object' || properties === null || Array.isArray(properties)) return properties
  const copy: { correlationData?: unknown, userProperties?: unknown } = { ...properties }
  const { correlationData, userProperties } = copy
  if (correlationData instanceof Uint8Array) copy.correlationData = copyOf(correlationData)
  if (typeof userProperties === 'object' && userProperties !== null && !Array.isArray(userProperties)) {
    copy.userProperties = Object.fromEntries(Object.entries(userProperties).map(([name, value]) => [name, Array.isArray(value) ? [...value] : value]))
  }
  return copy as T
}
