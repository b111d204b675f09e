import { connectDevice, type DeviceTopics } from './device.ts'

/*
 * A heater to try the plant with: it registers itself, sends a reading every two seconds, and does as it is told.
 *
 * PLANT         http://127.0.0.1:3000
 * DEVICE        rooms/1/devices/heater
 * MQTT_URL      mqtt://127.0.0.1
 * MQTT_VERSION  4; 5 for a broker that speaks it, and then it answers commands
 */

const {
  PLANT = 'http://127.0.0.1:3000', DEVICE = 'rooms/1/devices/heater', MQTT_URL = 'mqtt://127.0.0.1', MQTT_VERSION = '4'
} = process.env

const registered = await fetch(`${PLANT}/${DEVICE}`, { method: 'PUT' })
if (!registered.ok) throw new Error(`the plant has answered with ${registered.status}`)
const { topics } = await registered.json() as { topics: DeviceTopics }

let settings = { on: true, target: 20 }
let celsius = 16
const device = connectDevice(MQTT_URL, topics, {
  protocolVersion: MQTT_VERSION === '5' ? 5 : 4,
  obey: command => (settings = { ...settings, ...command })
})
device.on('error', error => { console.error(error.message) })

const timer = setInterval(() => {
  celsius += ((settings.on ? settings.target : 10) - celsius) / 10
  if (device.connected) device.publish(topics.telemetry, JSON.stringify({ celsius: Math.round(celsius * 10) / 10 }), { qos: 1 })
}, 2_000)

process.once('SIGINT', () => {
  clearInterval(timer)
  // Who says goodbye has no will.
  device.publish(topics.presence, '{"online":false}', { qos: 1, retain: true }, () => { device.end() })
})
