import t from 'tap'
import { liveApp, publishAll } from '../faults/scripted-app.ts'
import { waitFor } from '../support/events.ts'

for (const protocolVersion of [5, 4] as const) {
  t.test(`MQTT ${protocolVersion}: a broker that hangs up in answer to UNSUBSCRIBE is asked three times, then rarely, and all else goes on`, async t => {
    const { app, broker, logger } = await liveApp(t, {
      onConnect: (_packet, { index }) => ({ sessionPresent: index > 0 }),
      onUnsubscribe: (_packet, connection) => {
        connection.drop()
        return false
      }
    }, { protocolVersion, clientId: 'kept', session: { clean: false, expiry: 60 }, publishTimeout: 10_000, reconnect: { min: 1, max: 600_000 } }, app => { app.mqtt.topic('stays', () => {}) })
    await app.mqtt.subscribe('goes')
    const gone = app.mqtt.unsubscribe('goes')
    t.strictSame((await publishAll(app, 1, 3, { qos: 1 })).map(({ code }) => code), ['ok', 'ok', 'ok'])
    await gone
    await broker.connection(3)
    t.equal((await publishAll(app, 4, 4, { qos: 1 }))[0]!.code, 'ok')
    t.strictSame(broker.connections.map(connection => connection.of('unsubscribe').length), [1, 1, 1, 0])
    t.match(app.mqtt.subscriptions, [{ filter: 'stays', status: 'active' }])
    t.equal(logger.lines.filter(({ level, line }) => level === 'warn' && line.includes('UNSUBSCRIBE') && line.includes('"goes"')).length, 1)
  })

  t.test(`MQTT ${protocolVersion}: none that such a broker takes has to stay with one that it does not`, async t => {
    const kept = new Set(['bad', 'good'])
    const { app } = await liveApp(t, {
      onConnect: (_packet, { index }) => ({ sessionPresent: index > 0 }),
      onUnsubscribe: ({ unsubscriptions }, connection) => {
        // What comes behind it is not read.
        if (connection.closed || unsubscriptions[0] === 'bad') {
          connection.closed = true
          connection.drop()
          return false
        }
        kept.delete(unsubscriptions[0]!)
        return undefined
      }
    }, { protocolVersion, clientId: 'kept', session: { clean: false, expiry: 60 }, reconnect: { min: 1, max: 30 } })
    await app.mqtt.subscribe(['bad', 'good'])
    await app.mqtt.unsubscribe(['bad', 'good'])
    await waitFor(() => !kept.has('good'), 'the good one to go')
    t.strictSame([...kept], ['bad'])
  })

  t.test(`MQTT ${protocolVersion}: a network that ends connections keeps no filter in the session`, async t => {
    let cuts = 5
    const kept = new Set<string>()
    const { app, broker } = await liveApp(t, {
      onConnect: (_packet, { index }) => ({ sessionPresent: index > 0 }),
      onSubscribe: ({ subscriptions }) => { kept.add(subscriptions[0]!.topic) },
      onUnsubscribe: ({ unsubscriptions }, connection) => {
        if (cuts-- > 0) {
          connection.drop()
          return false
        }
        kept.delete(unsubscriptions[0]!)
        return undefined
      }
    }, { protocolVersion, clientId: 'kept', session: { clean: false, expiry: 60 } }, app => { app.mqtt.topic('stays', () => {}) })
    await app.mqtt.subscribe(['goes', 'comes back'])
    await app.mqtt.unsubscribe(['goes', 'comes back'])
    await broker.connection(3)
    const back = app.mqtt.subscribe('comes back')
    await waitFor(() => !kept.has('goes'), 'what is not wanted to go')
    await back
    t.strictSame([...kept], ['stays', 'comes back'])
    t.match(app.mqtt.subscriptions, [{ filter: 'stays', status: 'active' }, { filter: 'comes back', status: 'active' }])
  })
}
