/*
 * What the process that measures and the null broker's say to each other.
 */

/** Messages to be sent to everybody who has subscribed, as fast as they are taken. */
export interface FloodOptions {
  readonly qos: 0 | 1
  /** Of each payload, in bytes. */
  readonly size: number
  /** How many of QoS 1 may be unacknowledged; the client's Receive Maximum lowers it. */
  readonly window: number
}

/** What the broker has seen and done since it began. */
export interface Counts {
  /** PUBLISH from clients. */
  readonly published: number
  /** Bytes of these. */
  readonly bytes: number
  /** PUBLISH to clients. */
  readonly sent: number
  /** Of those, acknowledged. */
  readonly acknowledged: number
  /** How long its event loop was busy and idle, in milliseconds. */
  readonly active: number
  readonly idle: number
}

/** Each is answered with {@link Counts}. */
export type Command =
  { readonly do: 'count' } |
  { readonly do: 'flood', readonly options: FloodOptions } |
  /** Answered when everything that was sent is acknowledged. */
  { readonly do: 'stop' }

/** The broker listens. */
export interface Listening {
  readonly port: number
}
