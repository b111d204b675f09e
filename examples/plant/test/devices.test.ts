import t from 'tap'
import { telemetry, vibration, waveform } from '../topics.ts'
import { MemoryStore, type Device } from '../store.ts'
import type { DeviceKey } from '../schemas.ts'
import { build } from './build.ts'

/* What devices send. No broker is needed: a message is injected, as a request is. */

const HEATER = { room: 1, device: 'heater' }
const TELEMETRY = telemetry.topicFor(HEATER)

/** A store that is out of reach at first. */
class FlakyStore extends MemoryStore {
  failures: number

  constructor (failures: number) {
    super()
    this.failures = failures
  }

  override async update (key: DeviceKey, heard: Partial<Device>): Promise<void> {
    if (this.failures-- > 0) throw new Error('the database is restarting')
    return super.update(key, heard)
  }
}

t.test('a reading is kept, and shown over HTTP', async t => {
  const app = await build(t)
  const { matched, reasonCode, published } = await app.mqtt.inject({ topic: TELEMETRY, payload: { celsius: 21.5 }, qos: 1 })
  t.strictSame({ matched, reasonCode, published }, { matched: ['telemetry'], reasonCode: 0, published: [] })
  const { reading } = (await app.inject('/rooms/1/devices/heater')).json()
  t.match(reading, { celsius: 21.5, at: /^\d{4}-.*Z$/ })
})

t.test('a reading that is not valid is not kept, and not tried again', async t => {
  const app = await build(t)
  const { error, reasonCode, published } = await app.mqtt.inject({ topic: TELEMETRY, payload: { celsius: -300 }, qos: 1 })
  t.match(error, { code: 'FST_MQTT_INVALID_BODY', message: 'body/celsius must be >= -273.15' })
  t.equal(reasonCode, 0x99)
  t.match(published, [{ topic: 'failed/telemetry', payload: Buffer.from('{"celsius":-300}') }])
  t.equal((await app.devices.get(HEATER)).reading, undefined)
})

t.test('a store that fails for a moment', async t => {
  const app = await build(t, { store: new FlakyStore(2) })
  const { error, reasonCode, published } = await app.mqtt.inject({ topic: TELEMETRY, payload: { celsius: 21.5 }, qos: 1 })
  t.strictSame({ error, reasonCode, published }, { error: undefined, reasonCode: 0, published: [] })
  t.match(await app.devices.get(HEATER), { reading: { celsius: 21.5 } })
})

t.test('a store that goes on failing: the reading is put aside, with the reason', async t => {
  const app = await build(t, { store: new FlakyStore(3) })
  const { reasonCode, acked, published } = await app.mqtt.inject({ topic: TELEMETRY, payload: { celsius: 21.5 }, qos: 1 })
  t.strictSame({ reasonCode, acked }, { reasonCode: 0x83, acked: true })
  t.match(published, [{
    topic: 'failed/telemetry',
    payload: Buffer.from('{"celsius":21.5}'),
    properties: { userProperties: { topic: TELEMETRY, 'error-message': 'the database is restarting' } }
  }])
})

t.test('a device that nobody has registered is refused', async t => {
  const app = await build(t)
  for (const kind of ['presence', 'telemetry', 'waveform']) {
    const { error } = await app.mqtt.inject({ topic: `rooms/1/devices/toaster/${kind}`, payload: 'nonsense', qos: 1 })
    t.match(error, { code: 'UNKNOWN_DEVICE', message: 'There is no device "toaster" in room 1' }, `${kind}, and its body is not looked at`)
  }
  t.strictSame((await app.mqtt.inject({ topic: 'rooms/none/devices/heater/telemetry' })).matched, [], 'and no room is called so')
})

t.test('who is there', async t => {
  const app = await build(t)
  const say = async (payload: object) => app.mqtt.inject({ topic: 'rooms/1/devices/heater/presence', payload, qos: 1, retain: true })
  await say({ online: true, firmware: '1.2.0' })
  t.match(await app.devices.get(HEATER), { online: true, firmware: '1.2.0' })
  await say({ online: false })
  t.match(await app.devices.get(HEATER), { online: false, firmware: '1.2.0' })
})

t.test('a waveform is analysed in a thread', async t => {
  const app = await build(t)
  const samples = Float32Array.from({ length: 500 }, (_, i) => 2 * Math.sin(2 * Math.PI * 50 * i / 1000))
  const { results } = await app.mqtt.inject({ topic: waveform.topicFor(HEATER), payload: samples, qos: 1 })
  const [found] = results as [{ rms: number, peak: number, hertz: number }]
  t.equal(found.hertz, 50)
  t.ok(Math.abs(found.rms - Math.SQRT2) < 0.001 && Math.abs(found.peak - 2) < 0.01, `${found.rms} and ${found.peak}`)

  for (const bytes of [Buffer.alloc(7), Buffer.alloc(4), Buffer.alloc(4 * 5000), Float32Array.of(1, NaN)]) {
    const { error, reasonCode } = await app.mqtt.inject({ topic: waveform.topicFor(HEATER), payload: bytes, qos: 1 })
    t.match(error, { message: /^a waveform (has|holds)/ })
    t.equal(reasonCode, 0x83)
  }
})

t.test('what the thread has found is kept', async t => {
  const app = await build(t)
  await app.mqtt.inject({ topic: vibration.topicFor(HEATER), payload: { rms: 1, peak: 2, hertz: 50 }, qos: 1 })
  t.match(await app.devices.get(HEATER), { vibration: { rms: 1, peak: 2, hertz: 50, at: String } })
})

t.test('the first firmware: a plain number', async t => {
  const app = await build(t)
  t.strictSame((await app.mqtt.inject({ topic: 'v1/1/heater/celsius', payload: '21.5' })).matched, ['v1/<int(min=1):room>/<str(maxlength=32):device>/celsius'])
  t.match(await app.devices.get(HEATER), { online: true, reading: { celsius: 21.5 } })
  t.match((await app.mqtt.inject({ topic: 'v1/1/heater/celsius', payload: '-300' })).error, { code: 'FST_MQTT_INVALID_BODY' })
  t.match((await app.mqtt.inject({ topic: 'v1/1/toaster/celsius', payload: 'hot' })).error, { code: 'UNKNOWN_DEVICE' })
})
