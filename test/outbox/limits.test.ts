import t from 'tap'
import { liveApp, numbers, outcome, publishAll, scriptedApp } from '../faults/scripted-app.ts'
import { waitFor, withinTime } from '../support/events.ts'

t.test("the broker's limits are kept before a byte is sent", t => {
  t.test('Maximum Packet Size, Maximum QoS, Retain Available', async t => {
    const { app, broker } = await liveApp(t, {
      onConnect: () => ({ properties: { maximumPacketSize: 100, maximumQoS: 1, retainAvailable: false } })
    })
    t.match(await outcome(app.mqtt.publish('n', 'x'.repeat(100), { qos: 1 })), { code: 'FST_MQTT_PAYLOAD', maybeSent: false })
    t.match(await outcome(app.mqtt.publish('n', 'x'.repeat(100))), { code: 'FST_MQTT_PAYLOAD', maybeSent: false })
    t.match(await outcome(app.mqtt.publish('n', '', { qos: 2 })), { code: 'FST_MQTT_PROPERTY', maybeSent: false })
    t.match(await outcome(app.mqtt.publish('n', '', { qos: 1, retain: true })), { code: 'FST_MQTT_PROPERTY', maybeSent: false })
    t.match(await outcome(app.mqtt.publish('n', '', { retain: true })), { code: 'FST_MQTT_PROPERTY', maybeSent: false })
    // Fixed header 2, topic 3, packet id 2, properties 1: exactly at the limit.
    t.equal((await outcome(app.mqtt.publish('n', 'x'.repeat(92), { qos: 1 }))).code, 'ok')
    t.match(await outcome(app.mqtt.publish('n', 'x'.repeat(93), { qos: 1 })), { code: 'FST_MQTT_PAYLOAD' })
    t.equal(broker.last.of('publish').length, 1)
    t.equal(broker.connections.length, 1)
  })

  t.test('for what was taken offline too, and its neighbours go on', async t => {
    const { app, broker } = await scriptedApp(t, {
      onConnect: () => ({ properties: { maximumPacketSize: 100, maximumQoS: 1, retainAvailable: false } })
    })
    const all = [
      app.mqtt.publish('n', '1', { qos: 1 }),
      app.mqtt.publish('n', 'x'.repeat(100), { qos: 1 }),
      app.mqtt.publish('n', '2', { qos: 2 }),
      app.mqtt.publish('n', '3', { qos: 1, retain: true }),
      app.mqtt.publish('n', '4', { qos: 1 })
    ].map(outcome)
    await app.ready()
    t.match(await Promise.all(all), [
      { code: 'ok' }, { code: 'FST_MQTT_PAYLOAD', maybeSent: false }, { code: 'FST_MQTT_PROPERTY', maybeSent: false },
      { code: 'FST_MQTT_PROPERTY', maybeSent: false }, { code: 'ok' }
    ])
    t.strictSame(broker.last.published, ['1', '4'])
    t.equal(app.mqtt.status().outbox.messages, 0)
  })

  t.test('however much of it there is', async t => {
    const { app, broker } = await scriptedApp(t, { onConnect: () => ({ properties: { maximumPacketSize: 10_000 } }) })
    // Together more than is handed to the socket at once.
    const large = [1, 2, 3].map(() => outcome(app.mqtt.publish('n', 'x'.repeat(100_000), { qos: 1 })))
    const small = outcome(app.mqtt.publish('n', 'small', { qos: 1 }))
    await app.ready()
    t.strictSame((await Promise.all(large)).map(({ code }) => code), Array(3).fill('FST_MQTT_PAYLOAD'))
    t.equal((await withinTime(small, 'what is behind them')).code, 'ok')
    t.strictSame(broker.last.published, ['small'])
  })

  t.test('one QoS 0 publish that is too large hurts none of its turn', async t => {
    const { app, broker } = await scriptedApp(t, { onConnect: () => ({ properties: { maximumPacketSize: 100 } }) })
    const all = ['1', 'x'.repeat(100), '2'].map(payload => outcome(app.mqtt.publish('n', payload)))
    await app.ready()
    t.strictSame((await Promise.all(all)).map(({ code }) => code), ['ok', 'FST_MQTT_PAYLOAD', 'ok'])
    await app.mqtt.publish('n', 'last', { qos: 1 })
    t.strictSame(broker.last.published, ['1', '2', 'last'])
  })

  t.test('limits that shrink between store and resend: no loop, and the rest is delivered', async t => {
    const { app, broker } = await liveApp(t, {
      onConnect: (_packet, { index }) => ({ sessionPresent: index > 0, properties: { maximumPacketSize: index === 0 ? 1_000 : 100 } }),
      onPublish: ({ payload }, connection) => {
        if (connection.index === 0) {
          if (connection.of('publish').length === 3) connection.drop()
          return false
        }
        if (payload.length > 90) connection.drop()
        return undefined
      }
    }, { session: { clean: false, expiry: 60 }, clientId: 'x' })
    const all = ['1', 'x'.repeat(200), '2'].map(payload => outcome(app.mqtt.publish('n', payload, { qos: 1 })))
    const outcomes = await Promise.all(all)
    t.strictSame([outcomes[0]!.code, outcomes[2]!.code], ['ok', 'ok'])
    t.match(outcomes[1], { maybeSent: true })
    t.ok(['FST_MQTT_POISON', 'FST_MQTT_PAYLOAD'].includes(outcomes[1]!.code), outcomes[1]!.code)
    t.ok(broker.connections.length <= 4, `${broker.connections.length - 1} reconnects`)
  })
  t.end()
})

t.test('poison: a broker that answers one message by hanging up', t => {
  for (const [name, late] of [['acknowledges what came before it', false], ['has not acknowledged what came before it', true]] as const) {
    for (const version of [5, 4] as const) {
      t.test(`and ${name}: MQTT ${version}`, async t => {
        const { app, broker } = await liveApp(t, {
          onConnect: (_packet, { index }) => ({ sessionPresent: index > 0 }),
          onPublish: ({ payload, messageId }, connection) => {
            if (String(payload) === 'poison') { connection.socket.end(); connection.socket.destroySoon(); return false }
            if (!late) return undefined
            setImmediate(() => { connection.send({ cmd: 'puback', messageId: messageId! }) })
            return false
          }
        }, { protocolVersion: version, session: { clean: false, expiry: 60 }, clientId: 'x' })
        const payloads = ['1', '2', 'poison', '3', '4']
        const outcomes = await Promise.all(payloads.map(payload => outcome(app.mqtt.publish('n', payload, { qos: 1 }))))
        t.strictSame(outcomes.map(({ code }) => code), ['ok', 'ok', 'FST_MQTT_POISON', 'ok', 'ok'])
        t.equal(outcomes[2]!.maybeSent, true)
        t.ok(broker.connections.length - 1 <= 3, `${broker.connections.length - 1} reconnects`)
        t.equal((await outcome(app.mqtt.publish('n', '5', { qos: 1 }))).code, 'ok')
        t.equal(app.mqtt.status().outbox.messages, 0)
      })
    }
  }

  for (const version of [5, 4] as const) {
    t.test(`a network that ends every connection is not taken for it: MQTT ${version}`, async t => {
      const cuts = 6
      const controlled = 2
      const { app, broker } = await liveApp(t, {
        onConnect: (_packet, { index }) => ({ sessionPresent: index > 0 }),
        onPublish: (_packet, connection) => {
          if (connection.index === cuts) return undefined
          if (connection.index !== controlled) connection.drop()
          return false
        }
      }, { protocolVersion: version, session: { clean: false, expiry: 60 }, clientId: 'x' })
      const published = outcome(app.mqtt.publish('n', '', { qos: 1 }))
      const connection = await broker.connection(controlled)
      // Time is the fault here: the connection ends by itself, and a publish sent at once would be without an answer.
      setTimeout(() => { connection.drop() }, 50)
      t.equal((await withinTime(published, 'the publish')).code, 'ok')
      t.strictSame(broker.connections.map(it => it.published.length), Array.from({ length: cuts + 1 }, (_, i) => i === controlled ? 0 : 1))
    })
  }

  for (const version of [5, 4] as const) {
    t.test(`nor one that has interrupted more than one publish at a time: MQTT ${version}`, async t => {
      const { app, broker } = await liveApp(t, {
        onConnect: (_packet, { index }) => ({ sessionPresent: index > 0 }),
        onPublish: ({ payload, messageId }, connection) => {
          const last = String(payload) === 'last'
          if (connection.index > 2) return undefined
          if (last) connection.drop()
          // An answer that takes its time lets the others go together.
          else if (connection.index === 1 && String(payload) === 'first') setTimeout(() => { connection.send({ cmd: 'puback', messageId: messageId! }) }, 600)
          else if (connection.index === 2) return undefined
          return false
        }
      }, { protocolVersion: version, session: { clean: false, expiry: 60 }, clientId: 'x' })
      const published = ['first', 'second', 'last'].map(payload => outcome(app.mqtt.publish('n', payload, { qos: 1 })))
      const fourth = await broker.connection(3)
      // As above: this one ends by itself.
      setTimeout(() => { fourth.drop() }, 50)
      t.strictSame((await Promise.all(published)).map(({ code }) => code), ['ok', 'ok', 'ok'])
      t.strictSame(fourth.published, [])
    })
  }

  t.test('one that its caller has given up is dropped all the same', async t => {
    const { app, broker } = await liveApp(t, {
      onPublish: ({ payload }, connection) => {
        if (String(payload) !== 'poison') return undefined
        if (connection.index > 0) connection.drop()
        return false
      },
      onConnect: (_packet, { index }) => ({ sessionPresent: index > 0 })
    }, { session: { clean: false, expiry: 60 }, clientId: 'x' })
    t.match(await outcome(app.mqtt.publish('n', 'poison', { qos: 1, timeout: 1 })), { code: 'FST_MQTT_TIMEOUT', maybeSent: true })
    broker.last.drop()
    await broker.connection(3)
    await waitFor(() => app.mqtt.status().outbox.messages === 0, 'the drop')
    t.equal((await outcome(app.mqtt.publish('n', '1', { qos: 1 }))).code, 'ok')
    t.equal(broker.connections.length, 4)
  })
  t.end()
})

t.test('the version that was encoded for is not the one that is spoken', t => {
  t.test("'auto' falls back: what was taken offline leaves in the layout of 3.1.1", async t => {
    const { app, broker } = await scriptedApp(t, {
      onConnect: ({ protocolVersion }, connection) => {
        if (protocolVersion !== 5) return undefined
        connection.raw(Buffer.from([0x20, 2, 0, 1]))
        connection.socket.end()
        return false
      }
    }, { protocolVersion: 'auto' })
    const all = [
      app.mqtt.publish('n', 'zero'), app.mqtt.publish('n', 'zero too'),
      app.mqtt.publish('n', 'one', { qos: 1, properties: { contentType: 'text/plain', userProperties: { a: 'b' } } }),
      app.mqtt.publish('n', '', { qos: 2, retain: true })
    ].map(outcome)
    await app.ready()
    t.ok((await Promise.all(all)).every(({ code }) => code === 'ok'))
    t.equal(app.mqtt.protocolVersion, 4)
    await broker.last.until('publish', 4)
    t.match(broker.last.of('publish').map(({ topic, payload, qos, retain }) => ({ topic, payload: String(payload), qos, retain })), [
      { topic: 'n', payload: 'zero', qos: 0 }, { topic: 'n', payload: 'zero too', qos: 0 },
      { topic: 'n', payload: 'one', qos: 1 }, { topic: 'n', payload: '', qos: 2, retain: true }
    ])
    t.equal(app.mqtt.status().outbox.bytes, 0)
    t.equal(broker.last.error, undefined)
  })

  t.test('and back to 5, with the limits of 5 counted in bytes of 5', async t => {
    let refuse4 = false
    const { app, broker } = await liveApp(t, {
      onConnect: ({ protocolVersion }, connection) => {
        if (protocolVersion === 5 && !refuse4) { connection.raw(Buffer.from([0x20, 2, 0, 1])); return false }
        if (protocolVersion === 4 && refuse4) { connection.socket.end(); return false }
        return protocolVersion === 5 ? { properties: { maximumPacketSize: 100 } } : undefined
      },
      onPublish: (_packet, connection) => {
        if (refuse4) return undefined
        refuse4 = true
        connection.drop()
        return false
      }
    }, { protocolVersion: 'auto' })
    // Here a packet of 3.1.1 has exactly 100 bytes, and of MQTT 5 one more.
    const sent = outcome(app.mqtt.publish('n', '1', { qos: 1 }))
    await waitFor(() => !app.mqtt.connected, 'the loss')
    const atLimit = outcome(app.mqtt.publish('n', 'x'.repeat(93), { qos: 1 }))
    t.match(await Promise.all([sent, atLimit]), [{ code: 'ok' }, { code: 'FST_MQTT_PAYLOAD', maybeSent: false }])
    t.equal(app.mqtt.protocolVersion, 5)
    t.ok(broker.connections.length > 4, 'a broker that spoke 3.1.1 a moment ago is first taken to be restarting')
  })

  t.test('properties for a connection of 3.1.1 are left out and warned about once', async t => {
    const { app, broker, logger } = await liveApp(t, {}, { protocolVersion: 4 })
    for (let i = 0; i < 2; i++) await app.mqtt.publish('n', 'x', { qos: 1, properties: { contentType: 'a' } })
    t.equal(logger.lines.filter(({ level, line }) => level === 'warn' && line.includes('MQTT 5 properties')).length, 1)
    t.strictSame(broker.last.published, ['x', 'x'])
  })
  t.end()
})

t.test('a broker that ends the connection behind each refusal: nobody else is blamed', async t => {
  const { app, broker } = await liveApp(t, {
    onPublish: ({ payload }, connection) => {
      if (connection.socket.writableEnded) return false
      if (Number(String(payload)) > 8) return undefined
      connection.send({ cmd: 'puback', messageId: connection.of('publish').at(-1)!.messageId!, reasonCode: 0x87 } as never)
      // Behind the refusal, which arrives.
      connection.socket.end()
      return false
    }
  })
  const outcomes = await publishAll(app, 1, 20, { qos: 1 })
  t.strictSame(outcomes.map(({ code }) => code), numbers(1, 20).map(n => Number(n) <= 8 ? 'FST_MQTT_PUBLISH_REFUSED' : 'ok'))
  t.equal(broker.connections.length, 9)
})
