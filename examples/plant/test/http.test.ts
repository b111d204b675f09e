import t from 'tap'
import { build } from './build.ts'

t.test('devices are registered, listed and shown with their topics', async t => {
  const app = await build(t, { mqtt: { connect: false, prefix: 'site' } })
  const put = await app.inject({ method: 'PUT', url: '/rooms/2/devices/lamp' })
  t.match({ code: put.statusCode, body: put.json() }, {
    code: 201,
    body: {
      room: 2,
      device: 'lamp',
      online: false,
      topics: {
        telemetry: 'site/rooms/2/devices/lamp/telemetry',
        presence: 'site/rooms/2/devices/lamp/presence',
        command: 'site/rooms/2/devices/lamp/command',
        waveform: 'site/rooms/2/devices/lamp/waveform'
      }
    }
  })
  t.equal((await app.inject({ method: 'PUT', url: '/rooms/2/devices/lamp' })).statusCode, 200)
  t.strictSame((await app.inject('/rooms/2/devices/lamp')).json(), put.json())
  t.match((await app.inject('/rooms/1/devices')).json(), [{ device: 'heater' }])
  t.strictSame((await app.inject('/rooms/3/devices')).json(), [])
})

t.test('what is no device', async t => {
  const app = await build(t)
  t.match((await app.inject('/rooms/1/devices/toaster')).json(), { statusCode: 404, code: 'UNKNOWN_DEVICE' })
  for (const url of ['/rooms/one/devices/heater', '/rooms/0/devices/heater', '/rooms/1/devices/a%2Fb', '/rooms/1/devices/%23', '/rooms/1/devices/+']) {
    t.equal((await app.inject({ method: 'PUT', url })).statusCode, 400, url)
  }
})

t.test('commands: what can be said without a broker', async t => {
  const app = await build(t)
  const post = async (device: string, payload: object) => {
    const response = await app.inject({ method: 'POST', url: `/rooms/1/devices/${device}/commands`, payload })
    return response.json() as unknown
  }
  t.match(await post('heater', { target: 99 }), { statusCode: 400 })
  t.match(await post('heater', {}), { statusCode: 400 })
  t.match(await post('toaster', { on: true }), { statusCode: 404, code: 'UNKNOWN_DEVICE' })
  t.match(await post('heater', { on: true }), { statusCode: 503, code: 'BROKER_DOWN' })
})

t.test('health says what is the matter', async t => {
  const app = await build(t)
  const response = await app.inject('/health')
  t.match({ code: response.statusCode, body: response.json() }, { code: 503, body: { healthy: false, mqtt: { state: 'idle', connected: false } } })
})
