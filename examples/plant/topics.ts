import { defineTopic } from '../../lib/topics/index.ts'
import { Command, Presence, Reading, Settings, Vibration } from './schemas.ts'

/*
 * Every topic of the plant, declared once: for the routes that take messages in, for whoever publishes, for the thread that
 * computes, and for the tests.
 */

const device = 'rooms/<int(min=1):room>/devices/<str(maxlength=32):device>'

/** From the device, QoS 1. */
export const telemetry = defineTopic(`${device}/telemetry`, { name: 'telemetry', schema: { payload: Reading } })

/** From the device, retained; its will says `{ "online": false }` here. */
export const presence = defineTopic(`${device}/presence`, { name: 'presence', schema: { payload: Presence } })

/** To the device, which answers (MQTT 5, response topic and correlation data). */
export const command = defineTopic(`${device}/command`, { name: 'command', schema: { payload: Command, reply: Settings } })

/** From the device: 32-bit floats, little-endian, 1000 of them a second. */
export const waveform = defineTopic(`${device}/waveform`, { name: 'waveform' })

/** From the pool: what is in a waveform. */
export const vibration = defineTopic(`${device}/vibration`, { name: 'vibration', schema: { payload: Vibration } })
