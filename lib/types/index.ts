/*
 * What users see of `app.mqtt`. Everything here is exported by lib/index.ts and documented in docs/.
 */

export type * from './hooks.ts'
export type * from './inject.ts'
export type * from './multi-mqtt.ts'
export type * from './publish.ts'
export type * from './route-options.ts'
export type * from './route.ts'
export type * from './schema.ts'
export type * from './status.ts'
export type * from './subscribe.ts'
export type * from './workers.ts'
export type { ProtocolVersion, PublishProperties, QoS, ReceivedProperties } from '../wire/packet.ts'
