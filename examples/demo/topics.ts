import { defineTopic } from '../../lib/topics/index.ts'

/*
 * The topics of the demo, declared once. The main thread, the worker threads and the tests import them from here,
 * so that a topic is spelt in one place and its parameters have types everywhere.
 */

/** A reading, as plain text: `devices/1/telemetry/temperature` with `21.4`. */
export const telemetry = defineTopic('devices/<int(min=0):id>/telemetry/<any(temperature,humidity,power):metric>', { name: 'telemetry' })

/** What a device says about itself, as JSON: `{ "on": true, "target": 22 }`. */
export const status = defineTopic('devices/<int(min=0):id>/status', { name: 'status' })

/** What a device is asked to do: `{ "on": false }`, `{ "target": 30 }`, or in short `30`, `on`, `off`. */
export const command = defineTopic('devices/<int(min=0):id>/command', { name: 'command' })

export const metrics = ['temperature', 'humidity', 'power'] as const
export type Metric = typeof metrics[number]
