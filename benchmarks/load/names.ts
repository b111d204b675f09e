/** The competitors of all scenarios, as the tables name them. */
export const OURS = 'multimqtt'
export const MQTT_JS = 'mqtt.js'
/** As it is mostly used; the other is used as it is fastest. */
export const MQTT_JS_CALLBACKS = 'mqtt.js, callbacks'

/** MQTT 3.1.1 is what mqtt.js speaks by default, and the faster one. */
export const VERSIONS = [4, 5] as const

export function versionName (version: 4 | 5): string {
  return version === 5 ? 'MQTT 5' : 'MQTT 3.1.1'
}

/** How long a competitor runs before it is measured, in seconds: the compiler needs that. */
export const WARM_UP = 0.7
/** The same for so few publishes a second, and until the first full garbage collection of the process is over: tens of milliseconds. */
export const CALM_WARM_UP = 4
