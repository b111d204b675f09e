import Type, { type Static } from 'typebox'

/** Which device. In URLs it is checked by this, in topics by the pattern of topics.ts. */
export const DeviceKey = Type.Object({
  room: Type.Integer({ minimum: 1 }),
  device: Type.String({ pattern: '^[\\w-]{1,32}$' })
})
export type DeviceKey = Static<typeof DeviceKey>

/** What a device measures. */
export const Reading = Type.Object({
  celsius: Type.Number({ minimum: -273.15 }),
  humidity: Type.Optional(Type.Number({ minimum: 0, maximum: 100 }))
})
export type Reading = Static<typeof Reading>

/** What a device, or its will, says about itself. */
export const Presence = Type.Object({
  online: Type.Boolean(),
  firmware: Type.Optional(Type.String({ maxLength: 32 }))
})

/** What a device is asked to do. */
export const Command = Type.Object({
  on: Type.Optional(Type.Boolean()),
  target: Type.Optional(Type.Number({ minimum: 5, maximum: 35 }))
}, { minProperties: 1, additionalProperties: false })
export type Command = Static<typeof Command>

/** What it answers: how it is set from now on. */
export const Settings = Type.Object({ on: Type.Boolean(), target: Type.Number() })
export type Settings = Static<typeof Settings>

/** What the pool makes of a waveform. */
export const Vibration = Type.Object({ rms: Type.Number(), peak: Type.Number(), hertz: Type.Number() })
export type Vibration = Static<typeof Vibration>
