import net from 'node:net'
import t from 'tap'
import { buildApp } from '../support/app.ts'
import { liveApp, outcome, publishAll, scriptedApp } from '../faults/scripted-app.ts'
import { startScriptedBroker } from '../faults/scripted-broker.ts'
import { waitFor, withinTime } from '../support/events.ts'
import type { Owner } from '../support/folder.ts'
import { freePort } from '../support/ports.ts'

const turn = (): Promise<void> => new Promise(resolve => { setImmediate(resolve) })
const UNACCEPTABLE_VERSION = Buffer.from([0x20, 2, 0, 1])

t.test("'auto' asks for 5 and falls back to 3.1.1", t => {
  const refusals: Record<string, Parameters<typeof startScriptedBroker>[1]> = {
    'CONNACK 1': {
      onConnect: (packet, connection) => {
        if (packet.protocolVersion !== 5) return undefined
        connection.raw(UNACCEPTABLE_VERSION)
        return false
      }
    },
    'CONNACK 0x84': { onConnect: packet => packet.protocolVersion === 5 ? { reasonCode: 0x84 } : undefined },
    'closing without CONNACK': {
      onConnect: (packet, connection) => {
        if (packet.protocolVersion !== 5) return undefined
        connection.socket.end()
        return false
      }
    },
    'a reset without CONNACK': {
      onConnect: (packet, connection) => {
        if (packet.protocolVersion !== 5) return undefined
        connection.drop()
        return false
      }
    }
  }
  for (const [name, script] of Object.entries(refusals)) {
    t.test(name, async t => {
      const { app, broker } = await scriptedApp(t, script!, { protocolVersion: 'auto', reconnect: { min: 50, max: 50 } })
      app.mqtt.topic('a', () => {})
      await app.ready()
      await waitFor(() => app.mqtt.connected, 'the connection', { within: 3_000 })
      t.equal(app.mqtt.protocolVersion, 4)
      t.ok(broker.connections.length <= 3, `${broker.connections.length} attempts`)
      t.equal(broker.connections[0]!.version, 5)
      t.equal(app.mqtt.status().lastError, undefined)
      const before = broker.connections.length
      broker.last.drop()
      await broker.connection(before)
      t.equal(broker.last.version, 4, 'what was found out is kept')
    })
  }

  t.test('5 where the broker speaks it, and again after a restart that closes without CONNACK', async t => {
    const { app, broker } = await scriptedApp(t, {
      onConnect: (_packet, { index, socket }) => {
        if (index === 0 || index > 2) return undefined
        socket.end()
        return false
      }
    }, { protocolVersion: 'auto' })
    await app.ready()
    await waitFor(() => app.mqtt.connected, 'the connection')
    broker.last.drop()
    await broker.connection(3)
    t.strictSame(broker.connections.map(({ version }) => version), [5, 5, 5, 5])
  })

  t.test('a broker that spoke 5 is replaced by one that closes on each CONNECT of it', async t => {
    let replaced = false
    const { app, broker } = await liveApp(t, {
      onConnect: ({ protocolVersion }, { socket }) => {
        if (!replaced || protocolVersion !== 5) return undefined
        socket.end()
        return false
      }
    }, { protocolVersion: 'auto' })
    t.equal(app.mqtt.protocolVersion, 5)
    replaced = true
    broker.last.drop()
    await waitFor(() => broker.connections.length > 1 && app.mqtt.connected, 'the connection', { within: 3_000 })
    t.strictSame(broker.connections.map(({ version }) => version), [5, 5, 5, 5, 5, 5, 4])
  })

  t.test('a broker that spoke 3.1.1 is replaced by one of 5 alone, which says so', async t => {
    let replaced = false
    const { app, broker } = await liveApp(t, {
      onConnect: ({ protocolVersion }, connection) => {
        if (protocolVersion === (replaced ? 5 : 4)) return undefined
        connection.raw(UNACCEPTABLE_VERSION)
        return false
      }
    }, { protocolVersion: 'auto' })
    t.equal(app.mqtt.protocolVersion, 4)
    replaced = true
    const { index } = broker.last
    broker.last.drop()
    await waitFor(() => broker.connections.length > index + 1 && app.mqtt.connected, 'the connection', { within: 3_000 })
    t.equal(app.mqtt.protocolVersion, 5)
  })

  t.test('a peer that takes every connection and closes it is not asked without a rest, and it shows', async t => {
    const { app, broker } = await scriptedApp(t, {
      onConnect: (_packet, { socket }) => { socket.end(); return false }
    }, { protocolVersion: 'auto', reconnect: { min: 10_000, max: 10_000 } })
    const started = performance.now()
    await app.ready()
    await waitFor(() => app.mqtt.status().lastError !== undefined || broker.connections.length > 20, 'the failure to show')
    t.ok(broker.connections.length <= 4, `${broker.connections.length} connections in ${Math.round(performance.now() - started)} ms`)
    t.match(app.mqtt.status(), { connected: false, lastError: { code: String } })
  })

  t.test('a version that is set is not changed', async t => {
    const { app, broker } = await scriptedApp(t, { onConnect: () => ({ reasonCode: 0x84 }) }, { protocolVersion: 5 })
    await app.ready()
    await broker.connection(2)
    t.ok(broker.connections.every(({ connect }) => connect === undefined || connect.protocolVersion === 5))
    t.match(app.mqtt.status().lastError, { code: 'FST_MQTT_CONNECT_REFUSED', message: /0x84/ })
  })
  t.end()
})

t.test('refusals', t => {
  for (const [version, code, name] of [
    [3, 1, /0x01 Unacceptable protocol version/], [4, 1, /0x01 Unacceptable/], [5, 0x84, /0x84 Unsupported/], [5, 1, /0x01 Unacceptable/],
    [4, 2, /0x02 Identifier rejected/], [4, 4, /0x04 Bad user name or password/], [4, 5, /0x05 Not authorized/],
    [5, 0x85, /Client Identifier not valid/], [5, 0x86, /Bad User Name/], [5, 0x87, /0x87 Not authorized/], [5, 0x8a, /Banned/], [5, 0x8c, /Bad auth/]
  ] as const) {
    t.test(`${version}: ${code} is a state, and the slow lane`, async t => {
      const { app, broker } = await scriptedApp(t, {
        onConnect: (_packet, connection) => {
          if (code === 1) connection.raw(UNACCEPTABLE_VERSION)
          return code === 1 ? false : version === 5 ? { reasonCode: code } : { returnCode: code }
        }
      }, { protocolVersion: version, clientId: 'short', reconnect: { min: 1, max: 20_000 } })
      await app.ready()
      await waitFor(() => app.mqtt.state === 'refused', 'the refusal')
      t.match(app.mqtt.status().lastError, { code: 'FST_MQTT_CONNECT_REFUSED', message: name })
      t.equal(broker.connections.length, 1)
      const started = performance.now()
      await app.close()
      t.ok(performance.now() - started < 250, 'closing does not wait for the slow lane')
      t.equal(app.mqtt.state, 'closed')
    })
  }

  t.test('one that may pass is tried again with backoff, and lets up', async t => {
    const { app, broker } = await scriptedApp(t, {
      onConnect: (_packet, { index }) => index < 3 ? { reasonCode: 0x88 } : undefined
    })
    await app.ready()
    await waitFor(() => app.mqtt.connected, 'the connection')
    t.equal(broker.connections.length, 4)
    t.equal(app.mqtt.status().lastError, undefined)
  })

  t.test('a slow lane that is short, then accepted', async t => {
    const { app } = await scriptedApp(t, { onConnect: (_packet, { index }) => index < 2 ? { reasonCode: 0x87 } : undefined })
    await app.ready()
    await waitFor(() => app.mqtt.connected, 'the connection')
    t.equal(app.mqtt.state, 'connected')
  })
  t.end()
})

t.test('ECONNREFUSED backs off', async t => {
  const { app } = await buildApp(t, { port: await freePort(), reconnect: { min: 1, max: 60_000 } })
  await app.ready()
  await waitFor(() => app.mqtt.status().lastError !== undefined, 'the failure')
  t.match(app.mqtt.status(), { state: 'connecting', lastError: { code: 'ECONNREFUSED' } })
  const started = performance.now()
  await app.close()
  t.ok(performance.now() - started < 250)
})

t.test('connectTimeout: a broker that takes the connection and says nothing', async t => {
  const { app, broker } = await scriptedApp(t, {
    onConnect: (_packet, { index }) => index < 1 ? false : undefined
  }, { connectTimeout: 60, protocolVersion: 'auto' })
  await app.ready()
  await broker.connection(0)
  await waitFor(() => app.mqtt.status().lastError !== undefined || app.mqtt.connected, 'the timeout')
  await waitFor(() => app.mqtt.connected, 'the next attempt')
  t.equal(broker.connections[0]!.closed, true)
  t.equal(app.mqtt.protocolVersion, 5, 'silence is no refusal of the version')
})

t.test('connectTimeout is told by a code', async t => {
  const { app } = await scriptedApp(t, { onConnect: () => false }, { connectTimeout: 30, reconnect: { min: 10_000, max: 10_000 } })
  await app.ready()
  await waitFor(() => app.mqtt.status().lastError !== undefined, 'the timeout')
  t.match(app.mqtt.status().lastError, { code: /TIMEOUT|ETIMEDOUT/ })
})

t.test('credentials()', t => {
  t.test('asked before each CONNECT; nothing of them is told', async t => {
    let asked = 0
    const { app, broker, logger } = await scriptedApp(t, { onConnect: () => ({ reasonCode: 0x87 }) }, {
      credentials: () => ({ username: 'u', password: `hunter${++asked}` })
    })
    await app.ready()
    await broker.connection(2)
    t.strictSame(broker.connections.slice(0, 3).map(({ connect }) => String(connect!.password)), ['hunter1', 'hunter2', 'hunter3'])
    t.notMatch(logger.text() + JSON.stringify(app.mqtt.status()), /hunter/)
  })

  for (const [name, rejection] of Object.entries({ 'an error': new Error('vault sealed'), nothing: undefined, text: 'vault sealed', null: null })) {
    t.test(`rejecting with ${name}`, async t => {
      let asked = 0
      const { app, broker } = await scriptedApp(t, {}, {
        credentials: async () => {
          if (++asked < 3) throw rejection
          return { username: 'u', password: 'p' }
        },
        reconnect: { min: 30, max: 30 }
      })
      await app.ready()
      await waitFor(() => app.mqtt.status().lastError !== undefined, 'the failure')
      const { lastError } = app.mqtt.status()
      t.type(lastError!.code, 'string')
      t.type(lastError!.message, 'string')
      if (rejection instanceof Error) t.match(lastError!.message, /vault sealed/)
      else t.notMatch(lastError!.message, /broker closed/, 'the broker was never asked')
      await waitFor(() => app.mqtt.connected, 'the third attempt')
      t.equal(broker.connections.length, 1)
    })
  }

  t.test('hanging', async t => {
    let asked = 0
    const { app } = await scriptedApp(t, {}, {
      credentials: () => ++asked < 2 ? new Promise<never>(() => {}) : { username: 'u', password: 'p' }, connectTimeout: 30
    })
    await app.ready()
    await waitFor(() => app.mqtt.connected, 'the second attempt')
    t.equal(asked, 2)
  })

  t.test('hanging while the application closes', async t => {
    const { app, broker } = await scriptedApp(t, {}, { credentials: () => new Promise<never>(() => {}) })
    await app.ready()
    await withinTime(app.close(), 'the end', { within: 500 })
    t.equal(broker.connections.length, 0)
  })
  t.end()
})

t.test('the will function is asked before each CONNECT', async t => {
  let asked = 0
  const { app, broker } = await scriptedApp(t, {}, {
    prefix: 'p',
    will: async () => {
      asked++
      if (asked === 1) return undefined
      if (asked === 2) throw new Error('not now')
      return { topic: 'status', payload: { n: asked }, qos: 1, retain: true, properties: { willDelayInterval: 5 } }
    }
  })
  await app.ready()
  await waitFor(() => app.mqtt.connected, 'the connection')
  t.equal(broker.last.connect!.will, undefined)
  broker.last.drop()
  const second = await broker.connection(1)
  t.match(second.connect!.will, { topic: 'p/status', payload: Buffer.from('{"n":3}'), qos: 1, retain: true, properties: { willDelayInterval: 5 } })
})

t.test('what CONNECT says', async t => {
  const { broker } = await liveApp(t, {}, { session: { clean: false, expiry: 99 }, clientId: 'me', keepalive: 7, username: 'u', password: 'p', inbox: { maxMessages: 50 } })
  t.match(broker.last.connect, {
    clientId: 'me', clean: false, keepalive: 7, username: 'u', protocolVersion: 5, properties: { sessionExpiryInterval: 99, receiveMaximum: 50 }
  })
  const old = await liveApp(t, {}, { protocolVersion: 4, username: 'u', password: 'p' })
  t.match(old.broker.last.connect, { clean: true, keepalive: 15, protocolVersion: 4, protocolId: 'MQTT' })
  t.equal(old.broker.last.connect!.properties, undefined)
  const oldest = await liveApp(t, {}, { protocolVersion: 3, clientId: 'short' })
  t.match(oldest.broker.last.connect, { protocolVersion: 3, protocolId: 'MQIsdp' })
})

t.test("the broker's DISCONNECT shows in lastError", async t => {
  const { app, broker, logger } = await liveApp(t, {}, { reconnect: { min: 10_000, max: 10_000 } })
  broker.last.send({ cmd: 'disconnect', reasonCode: 0x8e })
  broker.last.socket.end()
  await waitFor(() => !app.mqtt.connected, 'the end')
  t.match(app.mqtt.status().lastError, { message: /0x8e Session taken over/ })
  t.match(logger.text(), /Session taken over/)
  t.equal(app.mqtt.state, 'reconnecting')
})

t.test("the broker's DISCONNECT behind other packets of the same segment", async t => {
  const { app, broker } = await liveApp(t, {}, { reconnect: { min: 10_000, max: 10_000 } })
  broker.last.send({ cmd: 'pingresp' }, { cmd: 'publish', topic: 'x', payload: '', qos: 0, dup: false, retain: false }, { cmd: 'disconnect', reasonCode: 0x8b })
  broker.last.drop()
  await waitFor(() => !app.mqtt.connected, 'the end')
  t.match(app.mqtt.status().lastError, { code: String })
})

t.test("mqtt.js' own publish and ours side by side: the ids never meet", async t => {
  const { app, broker } = await liveApp(t, {}, { outbox: { inflight: 50 } })
  const theirs: Array<Promise<unknown>> = []
  const ours = publishAll(app, 1, 2_000, n => ({ qos: (n % 2 + 1) as 1 | 2 }))
  for (let i = 0; i < 2_000; i++) {
    theirs.push(app.mqtt.client.publishAsync('their', `t${i}`, { qos: (i % 2 + 1) as 1 | 2 }))
    if (i % 100 === 0) await turn()
  }
  t.ok((await ours).every(({ code }) => code === 'ok'))
  await withinTime(Promise.all(theirs), "mqtt.js' publishes")
  const ids = (topic: string): number[] => broker.last.of('publish').filter(packet => packet.topic === topic).map(({ messageId }) => messageId!)
  t.ok(ids('n').every(id => id >= 0x8000))
  t.ok(ids('their').every(id => id < 0x8000))
  t.strictSame(broker.last.published.filter(text => !text.startsWith('t')), Array.from({ length: 2_000 }, (_, i) => String(i + 1)))
  t.equal(broker.last.error, undefined)
  t.equal(broker.connections.length, 1)
})

t.test("large writes of mqtt.js' do not mix with ours", async t => {
  const { app, broker } = await liveApp(t, {})
  const payload = Buffer.alloc(200_000, 'y')
  const all: Array<Promise<unknown>> = []
  for (let i = 0; i < 10; i++) {
    all.push(app.mqtt.client.publishAsync('their', payload, { qos: 1 }), app.mqtt.publish('ours', Buffer.alloc(50_000, 'z'), { qos: 1 }))
  }
  await Promise.all(all)
  t.equal(broker.last.error, undefined)
  t.ok(broker.last.of('publish').every(({ topic, payload }) => Buffer.from(payload).every(byte => byte === (topic === 'ours' ? 0x7a : 0x79))))
})

/** A listener that takes connections and never says a word. */
async function silent (t: Owner): Promise<number> {
  const broker = await startScriptedBroker(t, { onConnect: () => false })
  return broker.port
}

t.test('close in each state ends soon, sends DISCONNECT where there is a connection, and leaves no handle', async t => {
  const states: Record<string, (t: Owner) => Promise<{ close: () => Promise<unknown>, state: () => string }>> = {
    idle: async t => {
      const { app } = await buildApp(t, { port: await silent(t) })
      return { close: () => app.close(), state: () => app.mqtt.state }
    },
    connecting: async t => {
      const { app } = await buildApp(t, { port: await silent(t) })
      await app.ready()
      return { close: () => app.close(), state: () => app.mqtt.state }
    },
    connected: async t => {
      const { app } = await liveApp(t, {})
      return { close: () => app.close(), state: () => app.mqtt.state }
    },
    reconnecting: async t => {
      const { app, broker } = await liveApp(t, { onConnect: (_packet, { index }) => index === 0 ? undefined : false }, { reconnect: { min: 10_000, max: 10_000 } })
      broker.last.drop()
      await waitFor(() => app.mqtt.state === 'reconnecting', 'the loss')
      return { close: () => app.close(), state: () => app.mqtt.state }
    },
    refused: async t => {
      const { app } = await scriptedApp(t, { onConnect: () => ({ reasonCode: 0x87 }) }, { reconnect: { min: 10_000, max: 10_000 } })
      await app.ready()
      await waitFor(() => app.mqtt.state === 'refused', 'the refusal')
      return { close: () => app.close(), state: () => app.mqtt.state }
    }
  }
  for (const [name, reach] of Object.entries(states)) {
    await t.test(name, async t => {
      const { close, state } = await reach(t)
      t.equal(state(), name)
      const started = performance.now()
      await Promise.all([close(), close()])
      t.ok(performance.now() - started < 400, `${Math.round(performance.now() - started)} ms`)
      t.equal(state(), 'closed')
      await waitFor(() => !timers().includes('Timeout') || timers().length <= 1, 'the timers to be gone')
    })
  }
})

/** The timers that keep the process alive, but for those of the waiting test. */
function timers (): string[] {
  return process.getActiveResourcesInfo().filter(name => name === 'Timeout')
}

t.test('close: a broker that answers DISCONNECT with silence is left within closeTimeout', async t => {
  const broker = await startScriptedBroker(t)
  const { app } = await buildApp(t, { url: broker.url, closeTimeout: 200, protocolVersion: 5 })
  await app.ready()
  await waitFor(() => app.mqtt.connected, 'CONNACK')
  // It reads nothing any more, so it sees neither DISCONNECT nor FIN.
  broker.last.socket.pause()
  const started = performance.now()
  await app.close()
  t.ok(performance.now() - started < 700, `${Math.round(performance.now() - started)} ms`)
})

t.test('nothing connects after close, whatever is under way', async t => {
  let asked = 0
  let answer!: (value: { username: string }) => void
  const { app, broker } = await scriptedApp(t, {}, { credentials: () => { asked++; return new Promise(resolve => { answer = resolve }) } })
  await app.ready()
  await waitFor(() => asked === 1, 'the question')
  await app.close()
  answer({ username: 'u' })
  await turn()
  await turn()
  t.equal(broker.connections.length, 0)
  t.equal(app.mqtt.state, 'closed')
})

t.test('a publish of the moment of CONNACK, and one of the moment of the loss', async t => {
  const { app, broker } = await liveApp(t, {})
  const pending = [outcome(app.mqtt.publish('n', '', { qos: 1 }))]
  broker.last.drop()
  pending.push(outcome(app.mqtt.publish('n', '', { qos: 1 })))
  await waitFor(() => !app.mqtt.connected, 'the loss')
  pending.push(outcome(app.mqtt.publish('n', '', { qos: 1 })), outcome(app.mqtt.publish('n', '', { qos: 0 })))
  await waitFor(() => app.mqtt.connected, 'the reconnect')
  pending.push(outcome(app.mqtt.publish('n', '', { qos: 1 })))
  t.ok((await Promise.all(pending)).every(({ code }) => code === 'ok'))
})

t.test('keepalive finds a link that is dead', async t => {
  const { app, broker } = await liveApp(t, { onPing: () => false }, { keepalive: 1, reconnect: { min: 10_000, max: 10_000 } })
  const since = performance.now()
  await waitFor(() => !app.mqtt.connected, 'the discovery', { within: 3_000 })
  t.ok(performance.now() - since < 2_000)
  t.equal(broker.connections.length, 1)
  t.match(app.mqtt.status().lastError, { message: /[Kk]eepalive/ })
})

t.test('keepalive 0: no ping, unless the broker sets a Server Keep Alive', async t => {
  const { app, broker } = await liveApp(t, {
    onConnect: (_packet, { index }) => index === 1 ? { properties: { serverKeepAlive: 1 } } : undefined,
    onPing: (_packet, { received }) => received.filter(({ cmd }) => cmd === 'pingreq').length < 2 ? undefined : false
  }, { keepalive: 0 })
  t.equal(app.mqtt.client.keepalive, 0)
  broker.last.drop()
  const second = await broker.connection(1)
  await second.until('pingreq', 2, { within: 4_000 })
  // A dead link is found with it, too.
  const third = await broker.connection(2)
  await waitFor(() => app.mqtt.connected, 'the third connection')
  t.equal(app.mqtt.client.keepalive, 0, 'it holds for one connection')
  t.equal(third.connect!.keepalive, 0)
  t.equal(second.connect!.keepalive, 0)
})

t.test('a server on the port that speaks something else', async t => {
  const server = net.createServer(socket => { socket.on('error', () => {}); socket.write('HTTP/1.1 400 Bad Request\r\n\r\n') })
  await new Promise<void>(resolve => { server.listen(0, '127.0.0.1', resolve) })
  t.after(() => server.close())
  const { app } = await buildApp(t, { port: (server.address() as net.AddressInfo).port, reconnect: { min: 10_000, max: 10_000 } })
  await app.ready()
  await waitFor(() => app.mqtt.status().lastError !== undefined, 'the failure')
  t.equal(app.mqtt.connected, false)
})
