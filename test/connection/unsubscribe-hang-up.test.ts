import t from 'tap'
import { liveApp, publishAll } from '../faults/scripted-app.ts'

for (const protocolVersion of [5, 4] as const) {
  t.test(`MQTT ${protocolVersion}: a broker that hangs up in answer to UNSUBSCRIBE is asked three times, and all else goes on`, async t => {
    const { app, broker } = await liveApp(t, {
      onConnect: (_packet, { index }) => ({ sessionPresent: index > 0 }),
      onUnsubscribe: (_packet, connection) => {
        connection.drop()
        return false
      }
    }, { protocolVersion, clientId: 'kept', session: { clean: false, expiry: 60 }, publishTimeout: 10_000 }, app => { app.mqtt.topic('stays', () => {}) })
    await app.mqtt.subscribe('goes')
    const gone = app.mqtt.unsubscribe('goes')
    t.strictSame((await publishAll(app, 1, 3, { qos: 1 })).map(({ code }) => code), ['ok', 'ok', 'ok'])
    await gone
    await broker.connection(3)
    t.equal((await publishAll(app, 4, 4, { qos: 1 }))[0]!.code, 'ok')
    t.strictSame(broker.connections.map(connection => connection.of('unsubscribe').length), [1, 1, 1, 0])
    t.match(app.mqtt.subscriptions, [{ filter: 'stays', status: 'active' }])
  })
}
