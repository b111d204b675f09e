import type { ProtocolVersion } from '../wire/packet.ts'
import type { SubscriptionStatus } from './subscribe.ts'

/** Where the connection is. `refused`: the broker said no, and is asked again slowly. */
export type ConnectionState =
  'idle' | 'connecting' | 'connected' | 'reconnecting' | 'refused' | 'closing' | 'closed'

/** Everything about a connection at one moment, as plain JSON. */
export interface Status {
  readonly state: ConnectionState
  readonly connected: boolean
  /** Since when the state holds: milliseconds since the epoch. */
  readonly since: number
  readonly protocolVersion?: ProtocolVersion
  readonly lastError?: { readonly code: string, readonly message: string }
  /** Publishes that have not settled. `bytes` of them as encoded, whole packets. */
  readonly outbox: { readonly messages: number, readonly bytes: number, readonly inflight: number }
  /** Messages that have not been handled. `bytes` of them as encoded, whole packets. `running` counts one for each route. */
  readonly inbox: { readonly messages: number, readonly bytes: number, readonly running: number }
  /** How many worker threads are attached. */
  readonly workers: number
  readonly subscriptions: readonly SubscriptionStatus[]
  readonly counters: Counters
}

/** Counters since the start. `dropped` only ever counts QoS 0. */
export interface Counters {
  published: number
  refused: number
  received: number
  handled: number
  failed: number
  unmatched: number
  dropped: number
  oversize: number
  reconnects: number
}
