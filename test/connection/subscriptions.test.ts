import type { FastifyInstance } from 'fastify'
import t from 'tap'
import type { MqttPluginOptions } from '../../lib/index.ts'
import { liveApp, scriptedApp } from '../faults/scripted-app.ts'
import type { Script, ScriptedBroker, ScriptedConnection } from '../faults/scripted-broker.ts'
import { live } from '../support/app.ts'
import { nextEvent, waitFor, withinTime } from '../support/events.ts'

const turn = (): Promise<void> => new Promise(resolve => { setImmediate(resolve) })
const durable = { session: { clean: false, expiry: 60 }, clientId: 'durable' }

/** What a connection was asked for, in order. */
function asked (connection: ScriptedConnection): string[] {
  return connection.received.flatMap(packet => packet.cmd === 'subscribe'
    ? packet.subscriptions.map(({ topic, qos }) => `+${topic}:${qos}`)
    : packet.cmd === 'unsubscribe' ? packet.unsubscriptions.map(topic => `-${topic}`) : [])
}

/** Breaks the connection; the application has seen it and not yet made another when this resolves. */
async function lose (app: FastifyInstance, broker: ScriptedBroker): Promise<void> {
  const lost = nextEvent(app.mqtt.client, 'close')
  broker.last.drop()
  await lost
}

for (const version of [5, 4] as const) {
  const name = `MQTT ${version}`
  const options = { protocolVersion: version }

  t.test(`${name}: one refused filter concerns nobody else, now and after a reconnect`, async t => {
    const code = version === 5 ? 0x87 : 0x80
    const { app, broker, logger } = await scriptedApp(t, {
      onSubscribe: ({ subscriptions }, { index }) => subscriptions[0]!.topic === 'denied' && index < 2 ? { granted: [code] } : undefined
    }, options)
    const routes = ['ok1', 'denied', 'ok2'].map(pattern => app.mqtt.topic(pattern, { qos: 1 }, () => {}))
    const answers = Promise.allSettled(routes.map(({ subscribed }) => subscribed))
    await app.ready()
    t.match(await answers, [
      { status: 'fulfilled', value: { filter: 'ok1', qos: 1 } },
      { status: 'rejected', reason: { code: 'FST_MQTT_SUBSCRIBE_REFUSED', reasonCode: code } },
      { status: 'fulfilled', value: { filter: 'ok2', qos: 1 } }
    ])
    t.match(app.mqtt.subscriptions, [
      { filter: 'ok1', status: 'active', granted: 1 },
      { filter: 'denied', status: 'refused', error: { code: 'FST_MQTT_SUBSCRIBE_REFUSED' } },
      { filter: 'ok2', status: 'active' }
    ])
    t.match(logger.text(), /denied/)
    await t.rejects(app.mqtt.subscribe(['ok1', 'denied']), { code: 'FST_MQTT_SUBSCRIBE_REFUSED' })
    broker.last.drop()
    const second = await broker.connection(1)
    await second.until('subscribe', 3)
    // A refusal without a reason (0x80) may pass, so it is asked for more than once.
    t.strictSame([...new Set(asked(second))].sort(), ['+denied:1', '+ok1:1', '+ok2:1'])
    second.drop()
    await broker.connection(2)
    await live(app)
    t.equal(app.mqtt.subscriptions.find(({ filter }) => filter === 'denied')!.error, undefined)
    t.ok(broker.connections.every(connection => connection.of('subscribe').every(({ subscriptions }) => subscriptions.length === 1)))
  })

  t.test(`${name}: a SUBSCRIBE lost in flight is sent again although the session is present`, async t => {
    const { app, broker } = await scriptedApp(t, {
      onConnect: (_packet, { index }) => ({ sessionPresent: index > 0 }),
      onSubscribe: ({ subscriptions }, connection) => {
        if (connection.index > 0 || subscriptions[0]!.topic === 'a') return undefined
        connection.drop()
        return false
      }
    }, { ...options, ...durable })
    app.mqtt.topic('a', () => {})
    const lost = app.mqtt.topic('lost', { qos: 1 }, () => {})
    await app.ready()
    t.match(await withinTime(lost.subscribed, 'the second SUBACK'), { filter: 'lost', qos: 1 })
    t.ok(asked(broker.last).includes('+lost:1'))
    await live(app)
  })

  t.test(`${name}: a SUBSCRIBE that the broker hangs up on is found, reported, and concerns nobody else`, async t => {
    const got: string[] = []
    const { app, broker } = await scriptedApp(t, {
      onSubscribe: ({ subscriptions }, connection) => {
        if (subscriptions[0]!.topic !== 'bad') return undefined
        connection.drop()
        return false
      },
      onPublish: ({ payload }) => { got.push(String(payload)) }
    }, { ...options, reconnect: { min: 1, max: 60_000 } })
    const routes = ['a', 'b', 'bad', 'c'].map(pattern => app.mqtt.topic(pattern, { qos: 1 }, () => {}))
    const published = app.mqtt.publish('n', 'waits', { qos: 1 })
    const answers = Promise.allSettled(routes.map(({ subscribed }) => subscribed))
    await app.ready()
    t.match(await withinTime(answers, 'the answers'), [
      { status: 'fulfilled' }, { status: 'fulfilled' }, { status: 'rejected', reason: { code: 'FST_MQTT_SUBSCRIBE_REFUSED', message: /hangs up/ } }, { status: 'fulfilled' }
    ])
    await published
    t.ok(broker.connections.length <= 5, `${broker.connections.length} connections`)
    await waitFor(() => app.mqtt.connected && app.mqtt.subscriptions.filter(({ status }) => status === 'active').length === 3, 'the others')
    t.match(app.mqtt.subscriptions.find(({ filter }) => filter === 'bad'), { status: 'refused' })
    const { length } = broker.connections
    // Its time has not come.
    broker.last.drop()
    await broker.connection(length)
    await broker.last.until('subscribe', 3)
    await waitFor(() => app.mqtt.connected && app.mqtt.subscriptions.filter(({ status }) => status === 'active').length === 3, 'the others, again')
    await app.mqtt.publish('n', 'flows', { qos: 1 })
    t.ok(got.includes('waits') && got.includes('flows'))
    t.equal(broker.connections.length, length + 1)
    t.notOk(asked(broker.last).includes('+bad:1'))
  })

  t.test(`${name}: it is asked for again, and comes back when the broker lets it`, async t => {
    let permitted = false
    const { app, broker } = await scriptedApp(t, {
      onSubscribe: ({ subscriptions }, connection) => {
        if (permitted || subscriptions[0]!.topic !== 'bad') return undefined
        connection.drop()
        return false
      }
    }, options)
    app.mqtt.topic('good', { qos: 1 }, () => {})
    const { subscribed } = app.mqtt.topic('bad', { qos: 1 }, () => {})
    await app.ready()
    await t.rejects(subscribed, { code: 'FST_MQTT_SUBSCRIBE_REFUSED' })
    await broker.connection(5)
    permitted = true
    await live(app)
    t.ok(asked(broker.last).includes('+bad:1'))
  })

  t.test(`${name}: a publish that the broker hangs up on, beside SUBSCRIBEs: only it is refused`, async t => {
    const { app } = await scriptedApp(t, {
      onSubscribe: () => undefined,
      onPublish: ({ payload }, connection) => {
        if (String(payload) !== 'bad') return undefined
        connection.drop()
        return false
      }
    }, options)
    const routes = ['a', 'b', 'c'].map(pattern => app.mqtt.topic(pattern, { qos: 1 }, () => {}))
    const published = Promise.allSettled(['1', 'bad', '2'].map(payload => app.mqtt.publish('n', payload, { qos: 1 })))
    await app.ready()
    t.match(await withinTime(published, 'the publishes'), [{ status: 'fulfilled' }, { reason: { code: 'FST_MQTT_POISON' } }, { status: 'fulfilled' }])
    t.equal((await Promise.allSettled(routes.map(({ subscribed }) => subscribed))).filter(({ status }) => status === 'fulfilled').length, 3)
  })

  t.test(`${name}: a raised QoS lost in flight is sent again although the session is present`, async t => {
    const { app, broker } = await liveApp(t, {
      onConnect: (_packet, { index }) => ({ sessionPresent: index > 0 }),
      onSubscribe: ({ subscriptions }, connection) => {
        if (subscriptions[0]!.qos === 0 || connection.index > 0) return undefined
        connection.drop()
        return false
      }
    }, { ...options, ...durable }, app => { app.mqtt.topic('a', () => {}) })
    const raised = app.mqtt.topic('a', { qos: 1 }, () => {})
    await broker.connection(1)
    t.match(await withinTime(raised.subscribed, 'an answer'), { qos: 1 })
    await live(app)
    await waitFor(() => asked(broker.last).includes('+a:1'), 'the second try', { within: 500 }).catch(() => {})
    t.strictSame(asked(broker.last), ['+a:1'])
    t.match(app.mqtt.subscriptions, [{ qos: 1, granted: 1, status: 'active' }])
  })

  t.test(`${name}: without the session everything is sent again, with it on MQTT 5 alone`, async t => {
    const { app, broker } = await liveApp(t, {
      onConnect: (_packet, { index }) => ({ sessionPresent: index === 1 })
    }, { ...options, ...durable }, app => { for (const pattern of ['a', 'b/<x>', 'c/d']) app.mqtt.topic(pattern, { qos: 2 }, () => {}) })
    const all = ['+a:2', '+b/+:2', '+c/d:2']
    broker.last.drop()
    const second = await broker.connection(1)
    await live(app)
    await app.mqtt.publish('probe', '', { qos: 1 })
    t.strictSame(asked(second).sort(), version === 5 ? all : [])
    second.drop()
    const third = await broker.connection(2)
    await live(app)
    t.strictSame(asked(third).sort(), all)
  })

  t.test(`${name}: taken back offline, declared and taken back once more, a kept session is told`, async t => {
    const { app, broker } = await liveApp(t, {
      onConnect: (_packet, { index }) => ({ sessionPresent: index > 0 })
    }, { ...options, ...durable })
    await app.mqtt.topic('a', () => {}).subscribed
    const goes = app.mqtt.topic('goes', () => {})
    await goes.subscribed
    await lose(app, broker)
    await goes.remove()
    const again = app.mqtt.topic('goes', () => {})
    again.subscribed.catch(() => {})
    await again.remove()
    const second = await broker.connection(1)
    await withinTime(second.until('unsubscribe'), 'UNSUBSCRIBE')
    t.strictSame(asked(second).filter(text => text !== '+a:0'), ['-goes'])
  })

  t.test(`${name}: unsubscribed, subscribed and unsubscribed in one turn`, async t => {
    const { app, broker } = await liveApp(t, {}, options)
    await app.mqtt.subscribe('a')
    const settled = Promise.allSettled([app.mqtt.unsubscribe('a'), app.mqtt.subscribe('a'), app.mqtt.unsubscribe('a')])
    await withinTime(settled, 'the answers')
    t.strictSame(asked(broker.last), ['+a:0', '-a'])
  })

  for (const [title, permitted] of [['it is taken back', true], ['UNSUBSCRIBE is hung up on too, and tried once', false]] as const) {
    t.test(`${name}: a filter that the broker hangs up on, and a kept session has: ${title}`, async t => {
      const got = new Set<string>()
      const { app, broker } = await liveApp(t, {
        onConnect: (_packet, { index }) => ({ sessionPresent: index > 0 }),
        // It takes note of it all the same.
        onSubscribe: ({ subscriptions }, connection) => {
          got.add(subscriptions[0]!.topic)
          if (subscriptions[0]!.topic !== 'bad') return undefined
          connection.drop()
          return false
        },
        onUnsubscribe: ({ unsubscriptions }, connection) => {
          if (!permitted) {
            connection.drop()
            return false
          }
          got.delete(unsubscriptions[0]!)
          return undefined
        }
      }, { ...options, ...durable, reconnect: { min: 1, max: 60_000 } }, app => { app.mqtt.topic('good', () => {}) })
      const bad = app.mqtt.topic('bad', () => {})
      await t.rejects(withinTime(bad.subscribed, 'the refusal'), { code: 'FST_MQTT_SUBSCRIBE_REFUSED', message: /hangs up/ })
      await waitFor(() => app.mqtt.connected, 'the next connection')
      await withinTime(bad.remove(), 'remove')
      if (!permitted) {
        const { index } = broker.last
        await broker.connection(index + 1)
      }
      await live(app)
      await app.mqtt.publish('probe', '', { qos: 1 })
      t.equal(broker.connections.reduce((sum, connection) => sum + connection.of('unsubscribe').length, 0), 1)
      t.equal(got.has('bad'), !permitted)
    })
  }

  t.test(`${name}: taken back offline, a kept session is told`, async t => {
    const { app, broker } = await liveApp(t, {
      onConnect: (_packet, { index }) => ({ sessionPresent: index > 0 })
    }, { ...options, ...durable, reconnect: { min: 100, max: 100 } }, app => { app.mqtt.topic('stays', () => {}) })
    const goes = app.mqtt.topic('goes', () => {})
    await app.mqtt.subscribe(['sub', 'again'])
    await live(app)
    broker.last.drop()
    await waitFor(() => !app.mqtt.connected, 'the loss')
    await withinTime(goes.remove(), 'remove')
    await withinTime(app.mqtt.unsubscribe(['sub', 'again']), 'unsubscribe')
    const again = app.mqtt.subscribe('again')
    const second = await broker.connection(1)
    await again
    await second.until('unsubscribe', 2)
    t.strictSame(asked(second).filter(text => text.startsWith('-')).sort(), ['-goes', '-sub'])
    t.match(app.mqtt.subscriptions.map(({ filter }) => filter), ['stays', 'again'])
  })

  t.test(`${name}: a SUBSCRIBE in flight, and then nobody wants it any more`, async t => {
    const { app, broker } = await liveApp(t, { onSubscribe: () => false }, options)
    const asking = app.mqtt.subscribe('a')
    await broker.last.until('subscribe')
    const done = app.mqtt.unsubscribe('a')
    await t.rejects(asking, { code: 'FST_MQTT_CLOSED' })
    await withinTime(done, 'UNSUBACK')
    t.strictSame(asked(broker.last), ['+a:0', '-a'])
    t.strictSame(app.mqtt.subscriptions, [])
  })

  t.test(`${name}: one filter for several routes, gone with the last of them`, async t => {
    const { app, broker } = await liveApp(t, {}, { ...options, group: 'g' })
    const one = app.mqtt.topic('x/<int:n>', { qos: 1 }, () => {})
    const two = app.mqtt.topic('x/<word>', { qos: 1 }, () => {})
    await live(app)
    t.strictSame(asked(broker.last), ['+$share/g/x/+:1'])
    await one.remove()
    await turn()
    t.strictSame(asked(broker.last), ['+$share/g/x/+:1'])
    await two.remove()
    t.strictSame(asked(broker.last), ['+$share/g/x/+:1', '-$share/g/x/+'])
    const three = app.mqtt.topic('x/<word>', { qos: 1 }, () => {})
    await three.subscribed
    t.strictSame(asked(broker.last).slice(2), ['+$share/g/x/+:1'])
  })

  t.test(`${name}: a later route raises the QoS, and a lower one does not lower it`, async t => {
    const { app, broker } = await liveApp(t, {}, options)
    for (const qos of [1, 0, 2, 1] as const) {
      const { subscribed } = app.mqtt.topic('a', { qos }, () => {})
      await withinTime(subscribed, `the answer at ${qos}`)
    }
    t.strictSame(asked(broker.last), ['+a:1', '+a:2'])
    t.match(app.mqtt.subscriptions, [{ filter: 'a', qos: 2, granted: 2, status: 'active' }])
    const all = [0, 1, 2].map(qos => app.mqtt.topic('b', { qos: qos as 0 | 1 | 2 }, () => {}).subscribed)
    t.match(await Promise.all(all), [{ qos: 2 }, { qos: 2 }, { qos: 2 }])
    t.strictSame(asked(broker.last).slice(2), ['+b:2'], 'once for all that is declared in a turn')
  })

  t.test(`${name}: granted less than asked for is told`, async t => {
    const { app } = await liveApp(t, { onSubscribe: () => ({ granted: [0] }) }, options)
    t.match(await app.mqtt.topic('a', { qos: 2 }, () => {}).subscribed, { filter: 'a', qos: 0 })
    t.match(app.mqtt.subscriptions, [{ qos: 2, granted: 0 }])
  })

  t.test(`${name}: closing answers who waits`, async t => {
    const { app } = await liveApp(t, { onSubscribe: () => false }, options)
    const asking = app.mqtt.subscribe('a')
    const { subscribed } = app.mqtt.topic('b', () => {})
    const answers = Promise.allSettled([asking, subscribed])
    await turn()
    await app.close()
    t.match(await answers, [{ reason: { code: 'FST_MQTT_CLOSED' } }, { reason: { code: 'FST_MQTT_CLOSED' } }])
    await t.rejects(withinTime(app.mqtt.subscribe('c'), 'an answer', { within: 500 }), { code: 'FST_MQTT_CLOSED' })
  })

  t.test(`${name}: 40 000 filters, more than there are ids`, async t => {
    const { app, broker } = await scriptedApp(t, {}, options)
    for (let n = 0; n < 40_000; n++) app.mqtt.topic(`many/${n}`, () => {})
    await app.ready()
    await broker.connection(0)
    await broker.last.until('subscribe', 40_000)
    await live(app)
    t.equal(broker.connections.length, 1)
  })
}

t.test('MQTT 5: each filter with an identifier of its own, options as asked for', async t => {
  const { app, broker } = await liveApp(t, {}, {}, app => {
    app.mqtt.topic('a', { qos: 1, noLocal: true, retainAsPublished: true, retainHandling: 2 }, () => {})
    app.mqtt.topic('a/#', () => {})
  })
  const [one, two] = broker.last.of('subscribe')
  t.match(one!.subscriptions, [{ topic: 'a', qos: 1, nl: true, rap: true, rh: 2 }])
  const ids = [one, two].map(packet => packet!.properties!.subscriptionIdentifier)
  t.ok(ids.every(id => typeof id === 'number' && id > 0))
  t.not(ids[0], ids[1])
  t.throws(() => app.mqtt.topic('a', { noLocal: false }, () => {}), { code: 'FST_MQTT_OPTIONS', message: /noLocal/ })
})

t.test('MQTT 5: what a kept session has is asked for once more', t => {
  const kept = { onConnect: (_packet: unknown, { index }: ScriptedConnection) => ({ sessionPresent: index > 0 }) }
  const handlings = (connection: ScriptedConnection): Record<string, number | undefined> =>
    Object.fromEntries(connection.of('subscribe').map(({ subscriptions: [one] }) => [one!.topic, one!.rh]))
  /** Breaks the connection, and gives the next one when its CONNECT has come. */
  const next = async (broker: ScriptedBroker): Promise<ScriptedConnection> => {
    const { index } = broker.last
    broker.last.drop()
    return broker.connection(index + 1)
  }

  t.test('no retained message comes a second time, unless the session is lost', async t => {
    const { app, broker } = await liveApp(t, { onConnect: (_packet, { index }) => ({ sessionPresent: index === 1 }) }, durable, app => {
      for (const retainHandling of [0, 1, 2] as const) app.mqtt.topic(`${retainHandling}`, { retainHandling }, () => {})
    })
    t.strictSame(handlings(broker.last), { 0: 0, 1: 1, 2: 2 })
    const second = await next(broker)
    await second.until('subscribe', 3)
    t.strictSame(handlings(second), { 0: 1, 1: 1, 2: 2 })
    await live(app)
    const third = await next(broker)
    await third.until('subscribe', 3)
    t.strictSame(handlings(third), { 0: 0, 1: 1, 2: 2 })
    await live(app)
  })

  t.test('it is pending until the broker has answered, on whichever connection', async t => {
    const { app, broker } = await liveApp(t, { ...kept, onSubscribe: (_packet, { index }) => index === 0 || index === 3 ? undefined : false }, durable, app => {
      app.mqtt.topic('a', { qos: 1 }, () => {})
    })
    for (const index of [1, 2]) {
      const connection = await next(broker)
      await connection.until('subscribe')
      t.strictSame(handlings(connection), { a: 1 }, `connection ${index}`)
      t.match(app.mqtt.subscriptions, [{ filter: 'a', status: 'pending' }])
    }
    const last = await next(broker)
    await live(app)
    t.strictSame(handlings(last), { a: 1 })
    t.match(app.mqtt.subscriptions, [{ filter: 'a', status: 'active', granted: 1 }])
  })

  t.test('what the broker has not granted so far is asked for as if it were new', async t => {
    const { app, broker } = await liveApp(t, kept, durable, app => {
      app.mqtt.topic('raised', () => {})
      app.mqtt.topic('same', () => {})
    })
    await lose(app, broker)
    app.mqtt.topic('raised', { qos: 1 }, () => {})
    app.mqtt.topic('late', () => {})
    const second = await broker.connection(1)
    await live(app)
    t.strictSame(handlings(second), { raised: 0, same: 1, late: 0 })
  })

  t.test('a broker that does not permit it any more is heard', async t => {
    const { app, broker } = await liveApp(t, {
      ...kept, onSubscribe: ({ subscriptions }, { index }) => index === 1 && subscriptions[0]!.topic === 'a' ? { granted: [0x87] } : undefined
    }, { ...durable, reconnect: { min: 1, max: 60_000 } }, app => { for (const pattern of ['a', 'b']) app.mqtt.topic(pattern, () => {}) })
    await next(broker)
    await waitFor(() => app.mqtt.connected && app.mqtt.subscriptions.every(({ status }) => status !== 'pending'), 'the answers')
    t.match(app.mqtt.subscriptions, [{ filter: 'a', status: 'refused', error: { code: 'FST_MQTT_SUBSCRIBE_REFUSED' } }, { filter: 'b', status: 'active' }])
    const third = await next(broker)
    await live(app)
    t.strictSame(handlings(third), { a: 0, b: 1 })
  })
  t.end()
})

t.test('MQTT 5: a SUBSCRIBE over the Maximum Packet Size of the broker is refused, and not sent', async t => {
  const filter = 'x'.repeat(80)
  // One byte less than it takes: header 2, packet id 2, properties' length 1, identifier 1 + 4, filter 2 + 80, options 1.
  for (const [limit, fits] of [[93, true], [92, false]] as const) {
    const { app, broker } = await liveApp(t, {
      onConnect: (_packet, { index }) => ({ properties: { maximumPacketSize: index === 0 ? limit : 1_000 } }),
      onSubscribe: ({ length }, connection) => {
        if (length! + 2 <= limit || connection.index > 0) return undefined
        connection.drop()
        return false
      }
    })
    const result = await app.mqtt.subscribe(filter).then(() => undefined, (error: unknown) => error)
    await app.mqtt.subscribe('short')
    t.equal(broker.connections.length, 1)
    if (fits) {
      t.equal(result, undefined)
      continue
    }
    t.match(result, { code: 'FST_MQTT_SUBSCRIBE_REFUSED', reasonCode: 0x95, message: /93 bytes.* 92 at most/ })
    t.match(app.mqtt.subscriptions, [{ filter, status: 'refused' }, { filter: 'short', status: 'active' }])
    t.strictSame(asked(broker.last), ['+short:0'])
    broker.last.drop()
    const second = await broker.connection(1)
    await live(app)
    t.strictSame(asked(second).sort(), ['+short:0', `+${filter}:0`], 'it fits on the next connection')
  }
})

t.test('waitForConnection: what another filter covers has its answer with that one', async t => {
  const settings: Record<string, [Script, MqttPluginOptions]> = {
    '3.1.1': [{}, { protocolVersion: 4 }],
    'MQTT 5 without subscription identifiers': [{ onConnect: () => ({ properties: { subscriptionIdentifiersAvailable: false } }) }, { protocolVersion: 5 }],
    'MQTT 5': [{}, { protocolVersion: 5 }]
  }
  for (const [name, [script, options]] of Object.entries(settings)) {
    await t.test(name, async t => {
      const { app } = await scriptedApp(t, script, { ...options, waitForConnection: true })
      for (const pattern of ['a/b', 'a/#', 'a/<x>/c', 'z']) app.mqtt.topic(pattern, () => {})
      await app.ready()
      t.strictSame([...new Set(app.mqtt.subscriptions.map(({ status }) => status))], ['active'])
    })
  }
})

t.test('MQTT 5: a broker without subscription identifiers is asked as one of 3.1.1', async t => {
  const { broker } = await liveApp(t, { onConnect: () => ({ properties: { subscriptionIdentifiersAvailable: false } }) }, {}, app => {
    app.mqtt.topic('a/#', () => {})
    app.mqtt.topic('a/b', () => {})
  })
  t.strictSame(asked(broker.last), ['+a/#:0'])
  t.equal(broker.last.of('subscribe')[0]!.properties?.subscriptionIdentifier, undefined)
})

t.test('3.1.1: filters that cover others', t => {
  const options = { protocolVersion: 4 } as const

  t.test('the covered ones are not subscribed; the cover has the highest QoS', async t => {
    const { app, broker } = await liveApp(t, {}, options, app => {
      app.mqtt.topic('a/b', { qos: 2 }, () => {})
      app.mqtt.topic('a/#', () => {})
      app.mqtt.topic('a/+', { qos: 1 }, () => {})
      app.mqtt.topic('z', () => {})
    })
    t.strictSame(asked(broker.last).sort(), ['+a/#:2', '+z:0'])
    t.match(app.mqtt.subscriptions.filter(({ filter }) => filter !== 'z'), [
      { filter: 'a/b', status: 'active', granted: 2 }, { filter: 'a/#', granted: 2 }, { filter: 'a/+', status: 'active' }
    ])
  })

  t.test('when the cover goes, they are subscribed, and before it goes', async t => {
    const { app, broker } = await liveApp(t, {}, options)
    const cover = app.mqtt.topic('a/#', () => {})
    app.mqtt.topic('a/b', { qos: 1 }, () => {})
    app.mqtt.topic('a/c', () => {})
    await live(app)
    await cover.remove()
    await live(app)
    t.strictSame(asked(broker.last), ['+a/#:1', '+a/b:1', '+a/c:0', '-a/#'])
  })

  t.test('when a cover comes, they are unsubscribed, once it is there', async t => {
    const { app, broker } = await liveApp(t, {}, options, app => { app.mqtt.topic('a/b', { qos: 1 }, () => {}) })
    await app.mqtt.topic('a/#', () => {}).subscribed
    await broker.last.until('unsubscribe')
    t.strictSame(asked(broker.last), ['+a/b:1', '+a/#:1', '-a/b'])
    await live(app)
  })

  t.test('a refused cover leaves its neighbours what they can have by themselves', async t => {
    const { app, broker } = await scriptedApp(t, {
      onSubscribe: ({ subscriptions }) => subscriptions[0]!.topic === '#' ? { granted: [0x80] } : undefined
    }, options)
    const wide = app.mqtt.topic('#', () => {})
    const narrow = app.mqtt.topic('mine/<x>', { qos: 1 }, () => {})
    wide.subscribed.catch(() => {})
    await app.ready()
    await t.rejects(wide.subscribed, { code: 'FST_MQTT_SUBSCRIBE_REFUSED' })
    t.match(await narrow.subscribed.catch((error: Error) => error), { filter: 'mine/+', qos: 1 })
    t.ok(asked(broker.last).includes('+mine/+:1'))
  })

  t.test('a refused cover that comes later takes nothing away', async t => {
    const { app } = await liveApp(t, {
      onSubscribe: ({ subscriptions }) => subscriptions[0]!.topic === '#' ? { granted: [0x80] } : undefined
    }, options, app => { app.mqtt.topic('mine/<x>', { qos: 1 }, () => {}) })
    await t.rejects(app.mqtt.topic('#', () => {}).subscribed, { code: 'FST_MQTT_SUBSCRIBE_REFUSED' })
    await turn()
    t.match(app.mqtt.subscriptions, [{ filter: 'mine/+', status: 'active' }, { filter: '#', status: 'refused' }])
  })

  t.test('a second owner of a cover whose QoS was raised', async t => {
    const { app } = await liveApp(t, {}, options, app => {
      app.mqtt.topic('a/#', () => {})
      app.mqtt.topic('a/b', { qos: 1 }, () => {})
    })
    const second = app.mqtt.topic('a/#', () => {})
    t.match(await withinTime(second.subscribed, 'the answer', { within: 1_000 }).catch((error: Error) => error.message), { filter: 'a/#', qos: 1 })
    t.ok(app.mqtt.subscriptions.every(({ status }) => status === 'active'))
  })

  t.test('the cover is taken back offline while its SUBACK is awaited', async t => {
    const { app, broker } = await scriptedApp(t, { onSubscribe: (_packet, { index }) => index === 0 ? false : undefined }, { ...options, reconnect: { min: 50, max: 50 } })
    const cover = app.mqtt.topic('a/#', () => {})
    const narrow = app.mqtt.topic('a/b', { qos: 1 }, () => {})
    const answer = narrow.subscribed.catch((error: Error) => error)
    cover.subscribed.catch(() => {})
    await app.ready()
    await broker.connection(0)
    await broker.last.until('subscribe')
    broker.last.drop()
    await waitFor(() => !app.mqtt.connected, 'the loss')
    await cover.remove()
    t.match(await answer, { filter: 'a/b', qos: 1 })
    t.strictSame(asked(broker.last), ['+a/b:1'])
  })

  t.test('a cover comes and goes, and the UNSUBSCRIBE between is lost: what a kept session has is what is wanted', async t => {
    const got = new Set<string>()
    const { app, broker } = await liveApp(t, {
      onConnect: (_packet, { index }) => ({ sessionPresent: index > 0 }),
      onSubscribe: ({ subscriptions }) => { got.add(subscriptions[0]!.topic) },
      onUnsubscribe: ({ unsubscriptions }, connection) => {
        if (connection.index === 0) {
          connection.drop()
          return false
        }
        got.delete(unsubscriptions[0]!)
        return undefined
      }
    }, { ...options, ...durable }, app => { app.mqtt.topic('a/b', () => {}) })
    const lost = nextEvent(app.mqtt.client, 'close')
    const wide = app.mqtt.topic('a/#', () => {})
    await lost
    t.strictSame(asked(broker.last), ['+a/b:0', '+a/#:0', '-a/b'])
    await wide.remove()
    const second = await broker.connection(1)
    await live(app)
    await second.until('unsubscribe')
    await app.mqtt.publish('probe', '', { qos: 1 })
    t.strictSame(asked(second), ['+a/b:0', '-a/#'])
    t.strictSame([...got], ['a/b'])
  })

  t.test('$ topics and shared ones are covered by no wildcard', async t => {
    const { broker } = await liveApp(t, {}, options, app => {
      app.mqtt.topic('#', () => {})
      app.mqtt.topic('$SYS/#', () => {})
      app.mqtt.topic('a', { group: 'g' }, () => {})
    })
    t.strictSame(asked(broker.last).sort(), ['+#:0', '+$SYS/#:0', '+$share/g/a:0'])
  })

  t.test('options of MQTT 5 are warned about', async t => {
    const { logger } = await liveApp(t, {}, options, app => {
      app.mqtt.topic('a', { noLocal: true, retainAsPublished: true, retainHandling: 1 }, () => {})
    })
    for (const option of ['noLocal', 'retainAsPublished', 'retainHandling']) t.match(logger.text(), new RegExp(`warn .*${option}`))
  })
  t.end()
})
