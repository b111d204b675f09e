import t from 'tap'
import { liveApp, scriptedApp } from '../faults/scripted-app.ts'
import type { ScriptedConnection } from '../faults/scripted-broker.ts'
import { live } from '../support/app.ts'
import { waitFor, withinTime } from '../support/events.ts'

const turn = (): Promise<void> => new Promise(resolve => { setImmediate(resolve) })
const durable = { session: { clean: false, expiry: 60 }, clientId: 'durable' }

/** What a connection was asked for, in order. */
function asked (connection: ScriptedConnection): string[] {
  return connection.received.flatMap(packet => packet.cmd === 'subscribe'
    ? packet.subscriptions.map(({ topic, qos }) => `+${topic}:${qos}`)
    : packet.cmd === 'unsubscribe' ? packet.unsubscriptions.map(topic => `-${topic}`) : [])
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

  t.test(`${name}: with the session nothing is sent again, without it everything`, async t => {
    const { app, broker } = await liveApp(t, {
      onConnect: (_packet, { index }) => ({ sessionPresent: index === 1 })
    }, { ...options, ...durable }, app => { for (const pattern of ['a', 'b/<x>', 'c/d']) app.mqtt.topic(pattern, { qos: 2 }, () => {}) })
    broker.last.drop()
    const second = await broker.connection(1)
    await live(app)
    await app.mqtt.publish('probe', '', { qos: 1 })
    t.strictSame(asked(second), [])
    second.drop()
    const third = await broker.connection(2)
    await live(app)
    t.strictSame(asked(third).sort(), ['+a:2', '+b/+:2', '+c/d:2'])
  })

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
