import t from 'tap'
import { liveApp, outcome } from '../faults/scripted-app.ts'
import type { Delivered, ScriptedConnection, Script } from '../faults/scripted-broker.ts'
import { Gates } from '../faults/gates.ts'
import { waitFor } from '../support/events.ts'

const turn = (): Promise<void> => new Promise(resolve => { setImmediate(resolve) })
const durable = { session: { clean: false, expiry: 60 }, clientId: 'durable' }
const kept: Script = { onConnect: (_packet, { index }) => ({ sessionPresent: index > 0 }) }

function acknowledged (connection: ScriptedConnection): number[] {
  return connection.received.filter(({ cmd }) => cmd === 'puback' || cmd === 'pubrec').map(({ messageId }) => messageId!)
}

/** Messages to `h/<n>` of QoS 1, ids from 1. */
function messages (from: number, to: number, qos: 0 | 1 | 2 = 1): Delivered[] {
  return Array.from({ length: to - from + 1 }, (_, i) => ({ topic: `h/${from + i}`, qos, ...(qos > 0 && { messageId: from + i }) }))
}

for (const version of [5, 4] as const) {
  const name = `MQTT ${version}`
  const options = { protocolVersion: version, ...durable }

  t.test(`${name}: QoS 2 is handled once when it comes again after it was handled`, async t => {
    let handled = 0
    // PUBREC is lost with the connection.
    const { broker } = await liveApp(t, {
      ...kept,
      onPubrec: (_packet, connection) => {
        if (connection.index > 0) return undefined
        connection.drop()
        return false
      }
    }, options, app => { app.mqtt.topic('h', { qos: 2 }, () => { handled++ }) })
    broker.last.deliver({ topic: 'h', qos: 2, messageId: 7 })
    const second = await broker.connection(1)
    second.deliver({ topic: 'h', qos: 2, messageId: 7, dup: true })
    await second.until('pubcomp')
    t.equal(handled, 1)
    second.deliver({ topic: 'h', qos: 2, messageId: 7 })
    await second.until('pubcomp', 2)
    t.equal(handled, 2, 'after PUBREL the id is a new message')
  })

  t.test(`${name}: QoS 2 is handled once when it comes again while its handler still runs`, async t => {
    const gates = new Gates()
    const { broker } = await liveApp(t, kept, options, app => { app.mqtt.topic('h', { qos: 2 }, () => gates.wait('h')) })
    broker.last.deliver({ topic: 'h', qos: 2, messageId: 7 })
    await gates.entered('h')
    broker.last.drop()
    const second = await broker.connection(1)
    second.deliver({ topic: 'h', qos: 2, messageId: 7, dup: true })
    await turn()
    second.drop()
    const third = await broker.connection(2)
    third.deliver({ topic: 'h', qos: 2, messageId: 7, dup: true })
    await turn()
    t.strictSame(acknowledged(third), [])
    gates.open('h')
    await third.until('pubcomp')
    t.equal(gates.count('h'), 1)
    t.strictSame([acknowledged(second), acknowledged(third)], [[], [7]])
  })

  t.test(`${name}: QoS 2 is handled once when its handler ended between the connections`, async t => {
    const gates = new Gates()
    let closed = false
    const { app, broker } = await liveApp(t, {
      onConnect: (_packet, { index }) => index === 1 && !closed ? false : { sessionPresent: index > 0 }
    }, options, app => { app.mqtt.topic('h', { qos: 2 }, () => gates.wait('h')) })
    broker.last.deliver({ topic: 'h', qos: 2, messageId: 7 })
    await gates.entered('h')
    broker.last.drop()
    await waitFor(() => !app.mqtt.connected, 'the loss')
    gates.open('h')
    await turn()
    closed = true
    ;(await broker.connection(1)).drop()
    const third = await broker.connection(2)
    third.deliver({ topic: 'h', qos: 2, messageId: 7, dup: true })
    await third.until('pubcomp')
    t.equal(gates.count('h'), 1)
  })

  t.test(`${name}: QoS 2 whose handler failed is not handled again when PUBREC was lost`, async t => {
    let handled = 0
    const { broker } = await liveApp(t, {
      ...kept,
      onPubrec: (_packet, connection) => {
        if (connection.index > 0) return undefined
        connection.drop()
        return false
      }
    }, options, app => { app.mqtt.topic('h', { qos: 2 }, () => { handled++; throw new Error('on purpose') }) })
    broker.last.deliver({ topic: 'h', qos: 2, messageId: 7 })
    const second = await broker.connection(1)
    second.deliver({ topic: 'h', qos: 2, messageId: 7, dup: true })
    await second.until('pubrec')
    t.equal(handled, 1)
    second.deliver({ topic: 'h', qos: 2, messageId: 8 }, { topic: 'h', qos: 2, messageId: 8, dup: false })
    await second.until('pubrec', 2)
  })

  t.test(`${name}: what waits in the inbox when the session is gone is handled, and not acknowledged`, async t => {
    const gates = new Gates()
    const handled: string[] = []
    const { app, broker } = await liveApp(t, {}, options, app => {
      app.mqtt.topic('h', { qos: 1 }, async message => {
        await gates.wait('h')
        handled.push(message.text())
      })
    })
    broker.last.deliver(...[1, 2, 3].map(n => ({ topic: 'h', payload: String(n), qos: 1 as const, messageId: n })))
    await waitFor(() => app.mqtt.status().inbox.messages === 3, 'the messages')
    broker.last.drop()
    const second = await broker.connection(1)
    await waitFor(() => app.mqtt.connected, 'the connection')
    second.deliver({ topic: 'other', qos: 1, messageId: 9 })
    gates.open('h')
    await waitFor(() => app.mqtt.status().inbox.messages === 0, 'the handlers')
    t.strictSame(handled, ['1', '2', '3'])
    await second.until('puback')
    t.strictSame(acknowledged(second), [9])
  })

  t.test(`${name}: without the session the id is a new message`, async t => {
    let handled = 0
    const { broker } = await liveApp(t, {
      onPubrec: (_packet, connection) => {
        if (connection.index > 0) return undefined
        connection.drop()
        return false
      }
    }, options, app => { app.mqtt.topic('h', { qos: 2 }, () => { handled++ }) })
    broker.last.deliver({ topic: 'h', qos: 2, messageId: 7 })
    const second = await broker.connection(1)
    second.deliver({ topic: 'h', qos: 2, messageId: 7 })
    await second.until('pubcomp')
    t.equal(handled, 2)
  })

  t.test(`${name}: messages in the segment of CONNACK find the session as CONNACK says`, async t => {
    const handled: string[] = []
    const { broker } = await liveApp(t, {
      onConnect: (_packet, connection) => {
        if (connection.index === 0) return undefined
        connection.send(
          { cmd: 'connack', sessionPresent: true, returnCode: 0, reasonCode: 0 },
          { cmd: 'publish', topic: 'h', payload: 'again', qos: 2, messageId: 7, dup: true, retain: false },
          { cmd: 'publish', topic: 'h', payload: 'new', qos: 1, messageId: 8, dup: false, retain: false })
        return false
      },
      onPubrec: (_packet, connection) => {
        if (connection.index > 0) return undefined
        connection.drop()
        return false
      }
    }, options, app => { app.mqtt.topic('h', { qos: 2 }, message => { handled.push(message.text()) }) })
    broker.last.deliver({ topic: 'h', qos: 2, messageId: 7, payload: 'first' })
    const second = await broker.connection(1)
    await second.until('pubcomp')
    await second.until('puback')
    t.strictSame(handled, ['first', 'new'])
  })

  t.test(`${name}: PUBREL of an unknown id is answered with PUBCOMP`, async t => {
    const { broker } = await liveApp(t, {}, options)
    broker.last.send({ cmd: 'pubrel', messageId: 99 })
    t.match(await broker.last.until('pubcomp'), [{ messageId: 99 }])
    t.equal(broker.connections.length, 1)
  })

  t.test(`${name}: PUBREL before PUBREC ends the connection; the message is handled once all the same`, async t => {
    const gates = new Gates()
    const { broker } = await liveApp(t, kept, options, app => { app.mqtt.topic('h', { qos: 2 }, () => gates.wait('h')) })
    broker.last.deliver({ topic: 'h', qos: 2, messageId: 7 })
    await gates.entered('h')
    broker.last.send({ cmd: 'pubrel', messageId: 7 })
    const second = await broker.connection(1)
    t.equal(broker.connections[0]!.of('pubcomp').length, 0)
    second.deliver({ topic: 'h', qos: 2, messageId: 7, dup: true })
    gates.open('h')
    await second.until('pubcomp')
    t.equal(gates.count('h'), 1)
  })

  t.test(`${name}: a broker that repeats a QoS 2 message on the same connection does not stop the acknowledgements`, async t => {
    const gates = new Gates()
    const { broker } = await liveApp(t, {}, options, app => { app.mqtt.topic('h/<name>', { qos: 2 }, message => gates.wait(message.params.name)) })
    broker.last.deliver({ topic: 'h/a', qos: 2, messageId: 7 })
    await gates.entered('a')
    broker.last.deliver({ topic: 'h/a', qos: 2, messageId: 7, dup: true }, { topic: 'h/b', qos: 1, messageId: 8 })
    await gates.entered('b')
    gates.open('b')
    gates.open('a')
    await waitFor(() => acknowledged(broker.last).includes(8), 'the acknowledgement behind it', { within: 1_000 }).catch(() => {})
    t.ok(acknowledged(broker.last).includes(7))
    t.ok(acknowledged(broker.last).includes(8))
    t.equal(gates.count('a'), 1)
  })

  t.test(`${name}: QoS 0 is dropped, counted and told once when the inbox is full`, async t => {
    const gates = new Gates()
    const { app, broker, logger } = await liveApp(t, {}, { ...options, inbox: { maxMessages: 3 } }, app => {
      app.mqtt.topic('h/<n>', () => gates.wait('h'))
    })
    broker.last.deliver(...messages(1, 10, 0))
    await waitFor(() => app.mqtt.status().counters.received === 10, 'the messages')
    t.match(app.mqtt.status(), { counters: { dropped: 7 }, inbox: { messages: 3 } })
    gates.open('h')
    await waitFor(() => app.mqtt.status().counters.handled === 3, 'the handlers')
    t.equal(logger.lines.filter(({ line }) => line.includes('inbox is full')).length, 1)
    broker.last.deliver(...messages(11, 13, 0))
    await waitFor(() => app.mqtt.status().counters.handled === 6, 'the next')
    t.strictSame(app.mqtt.status().inbox, { messages: 0, bytes: 0, running: 0 })
  })

  t.test(`${name}: QoS 1 pauses the reading, by messages and by bytes, and nothing is lost`, async t => {
    for (const inbox of [{ maxMessages: 20 }, { maxBytes: 200_000 }]) {
      const gates = new Gates()
      const { app, broker } = await liveApp(t, {}, { ...options, inbox, concurrency: 1_000 }, app => {
        app.mqtt.topic('h/<n>', { qos: 1 }, () => gates.wait('h'))
      })
      const payload = Buffer.alloc(10_000)
      for (const message of messages(1, 2_000)) broker.last.deliver({ ...message, payload })
      await waitFor(() => broker.last.socket.writableLength > 0, 'the broker to be held back')
      await gates.entered('h')
      await turn()
      t.ok(app.mqtt.status().inbox.messages <= 40, `${app.mqtt.status().inbox.messages} messages taken in`)
      gates.open('h')
      await broker.last.until('puback', 2_000)
      t.strictSame(acknowledged(broker.last), Array.from({ length: 2_000 }, (_, i) => i + 1))
      t.equal(app.mqtt.status().counters.dropped, 0)
      t.equal(broker.connections.length, 1)
    }
  })

  for (const qos of [1, 2] as const) {
    t.test(`${name}: a handler that awaits its own QoS ${qos} publish while the inbox is full`, async t => {
      let published = 0
      const { broker } = await liveApp(t, {}, { ...options, inbox: { maxMessages: 2 } }, app => {
        app.mqtt.topic('h/<n>', { qos: 1 }, async () => {
          await app.mqtt.publish('out', '', { qos })
          published++
        })
      })
      // As a broker that keeps to Receive Maximum, which is 2 here.
      for (const [i, message] of messages(1, 50).entries()) {
        await broker.last.until('puback', i - 1)
        broker.last.deliver(message)
      }
      await broker.last.until('puback', 50)
      t.equal(published, 50)
      t.equal(broker.connections.length, 1)
    })
  }

  t.test(`${name}: a handler that subscribes while the inbox is full`, async t => {
    let subscribed = false
    const gates = new Gates()
    const { broker } = await liveApp(t, { onSubscribe: ({ subscriptions }) => subscriptions[0]!.topic === 'late' ? false : undefined }, { ...options, inbox: { maxMessages: 1 } }, app => {
      app.mqtt.topic('h/<n>', { qos: 1 }, async () => {
        await gates.wait('h')
        await app.mqtt.subscribe('late')
        subscribed = true
      })
    })
    broker.last.deliver(...messages(1, 1))
    await gates.entered('h')
    gates.open('h')
    await waitFor(() => broker.last.of('subscribe').some(({ subscriptions }) => subscriptions[0]!.topic === 'late'), 'SUBSCRIBE')
    broker.last.send({ cmd: 'suback', messageId: broker.last.of('subscribe').at(-1)!.messageId!, granted: [0] })
    await waitFor(() => subscribed, 'SUBACK', { within: 1_500 }).catch(() => {})
    t.equal(subscribed, true)
  })

  t.test(`${name}: a broker that goes on sending far past the limit, while handlers await their own publishes`, async t => {
    const count = 1_200
    const answered: number[] = []
    const acknowledgedByNow = (): Set<number> => new Set(broker.connections.flatMap(connection => acknowledged(connection)))
    const { app, broker } = await liveApp(t, {
      onConnect: (_packet, connection) => {
        if (connection.index === 0) return undefined
        // The kept session gives back what was not acknowledged.
        setImmediate(() => {
          const done = acknowledgedByNow()
          connection.deliver(...messages(1, count).filter(({ messageId }) => !done.has(messageId!)).map(message => ({ ...message, dup: true })))
        })
        return { sessionPresent: true }
      },
      onPublish: ({ messageId }, connection) => {
        // The first connection answers only when nothing more can run.
        const waiting = connection.of('publish')
        if (connection.index > 0) connection.send({ cmd: 'puback', messageId: messageId! })
        else if (waiting.length === 100) for (const publish of waiting) connection.send({ cmd: 'puback', messageId: publish.messageId! })
        else if (waiting.length > 100) connection.send({ cmd: 'puback', messageId: messageId! })
        return false
      }
    }, { ...options, inbox: { maxMessages: 4 }, concurrency: 100 }, app => {
      app.mqtt.topic('h/<int:n>', { qos: 1 }, async ({ params }) => {
        await app.mqtt.publish('out', params.n, { qos: 1 })
        answered.push(params.n)
      })
    })
    broker.last.deliver(...messages(1, 1))
    await broker.last.until('publish')
    broker.last.deliver(...messages(2, count))
    await waitFor(() => new Set(answered).size === count, 'every handler').catch(() => {})
    t.equal(new Set(answered).size, count)
    t.equal(app.mqtt.status().counters.refused, 0, 'no publish was taken for poison')
    t.equal(app.mqtt.status().counters.failed, 0)
    t.ok(broker.connections.length < 10, `${broker.connections.length} connections`)
  })

  t.test(`${name}: a flood into a clean session: nothing is lost while handlers end by themselves`, async t => {
    const count = 20_000
    const seen = new Set<string>()
    let slow = true
    const { app, broker } = await liveApp(t, { onPublish: () => false }, { protocolVersion: version, inbox: { maxMessages: 10 }, concurrency: 1 }, app => {
      app.mqtt.topic('h/<n>', { qos: 1 }, async ({ params }) => {
        // Nobody waits for it, and no answer comes.
        app.mqtt.publish('own', '', { qos: 1 }).catch(() => {})
        // What a slow handler is: it takes its time.
        if (slow) await new Promise(resolve => { setTimeout(resolve, 10) })
        seen.add(params.n)
      })
    })
    broker.last.deliver(...messages(1, count))
    // So many take longer than the inbox waits where no handler ends.
    await waitFor(() => seen.size === 250, 'some handlers')
    const { received } = app.mqtt.status().counters
    t.ok(received > 1_000 && received < count / 2, `${received} messages taken in`)
    slow = false
    await broker.last.until('puback', count)
    t.equal(seen.size, count)
    t.match(app.mqtt.status().counters, { received: count, handled: count, dropped: 0 })
    t.equal(broker.connections.length, 1)
    t.comment(`${name}: ${received} of ${count} messages were taken in before there was room`)
  })

  t.test(`${name}: a flood into a clean session: handlers get the answer that lies behind it, and what that costs is told`, async t => {
    const count = 20_000
    const last = 1_000_000
    const handled: number[] = []
    const { app, broker, logger } = await liveApp(t, {
      onPublish: ({ messageId }, connection) => {
        if (connection.index === 0 && connection.of('publish').length === 1) connection.deliver(...messages(2, count))
        connection.send({ cmd: 'puback', messageId: messageId! })
        return false
      }
    }, { protocolVersion: version, inbox: { maxMessages: 10 } }, app => {
      app.mqtt.topic('h/<int:n>', { qos: 1 }, async ({ params }) => {
        await app.mqtt.publish('own', '', { qos: 1, timeout: 0 })
        handled.push(params.n)
      })
    })
    broker.last.deliver(...messages(1, 1))
    const second = await broker.connection(1)
    await waitFor(() => app.mqtt.connected && app.mqtt.status().inbox.messages === 0, 'the next connection')
    second.deliver({ topic: `h/${last}`, qos: 1, messageId: 1 })
    await waitFor(() => handled.includes(last), 'a message on it')
    t.equal(app.mqtt.status().counters.failed, 0)
    t.strictSame(handled.slice(0, -1), Array.from({ length: handled.length - 1 }, (_, i) => i + 1), 'what was taken in was handled')
    const [, lost] = /(\d+) messages or more are lost/.exec(logger.text()) ?? []
    t.ok(Number(lost) > 0 && Number(lost) + handled.length - 1 <= count, `${lost} lost, ${handled.length - 1} handled`)
    t.notMatch(logger.text(), /is sent again/)
    t.comment(`${name}: of ${count} messages ${handled.length - 1} were handled, and ${lost} told to be lost`)
  })

  t.test(`${name}: an oversize message is skipped, acknowledged, counted and told`, async t => {
    const handled: string[] = []
    const { app, broker, logger } = await liveApp(t, {}, { ...options, maxPayload: 1_000 }, app => {
      app.mqtt.topic('h/<n>', { qos: 2 }, message => { handled.push(message.topic) })
    })
    // Some are within what the framer lets through, some are not.
    for (const [i, size] of [1_001, 400_000].entries()) {
      const payload = Buffer.alloc(size, 'x')
      for (const qos of [0, 1, 2] as const) {
        broker.last.deliver({ topic: `h/big${qos}`, qos, payload, ...(qos > 0 && { messageId: 10 * (i + 1) + qos }) })
      }
    }
    broker.last.deliver({ topic: 'h/ok', qos: 1, messageId: 5, payload: Buffer.alloc(1_000) })
    await waitFor(() => acknowledged(broker.last).includes(5), 'the last')
    t.strictSame(acknowledged(broker.last), [11, 12, 21, 22, 5])
    if (version === 4) await broker.last.until('pubcomp', 2)
    else t.strictSame([...broker.last.of('puback'), ...broker.last.of('pubrec')].map(({ reasonCode }) => reasonCode ?? 0).sort(), [0, 0x97, 0x97, 0x97, 0x97])
    t.strictSame(handled, ['h/ok'])
    t.match(app.mqtt.status().counters, { oversize: 6, handled: 1, dropped: 0 })
    t.match(logger.text(), /maxPayload is 1000/)
    t.equal(broker.connections.length, 1)
    if (version === 5) t.ok(broker.last.connect!.properties!.maximumPacketSize! > 1_000)
  })

  t.test(`${name}: a malformed packet ends the connection, and nothing behind it is handled`, async t => {
    const malformed: Record<string, Buffer> = {
      'wildcard in a topic': Buffer.from([0x30, version === 5 ? 6 : 5, 0, 3, 0x68, 0x2f, 0x23, 0].slice(0, version === 5 ? 8 : 7)),
      'QoS 3': Buffer.from([0x36, 5, 0, 1, 0x68, 0, 1]),
      'id 0': Buffer.from([0x32, version === 5 ? 6 : 5, 0, 1, 0x68, 0, 0, 0].slice(0, version === 5 ? 8 : 7)),
      'a length of five bytes': Buffer.from([0x30, 0xff, 0xff, 0xff, 0xff, 0x01]),
      'a topic past the end': Buffer.from([0x30, 4, 0, 9, 0x68, 0]),
      'a second CONNACK': Buffer.from(version === 5 ? [0x20, 3, 0, 0, 0] : [0x20, 2, 0, 0]),
      PINGREQ: Buffer.from([0xc0, 0]),
      'type 0': Buffer.from([0, 0]),
      'PUBREL with wrong flags': Buffer.from([0x60, 2, 0, 1]),
      'SUBACK with a code that there is not': Buffer.from(version === 5 ? [0x90, 4, 0, 1, 0, 0x55] : [0x90, 3, 0, 1, 0x55])
    }
    const handled: string[] = []
    const { app, broker } = await liveApp(t, {}, options, app => { app.mqtt.topic('h/<n>', { qos: 1 }, message => { handled.push(message.topic) }) })
    const good = Buffer.from(version === 5 ? [0x30, 6, 0, 3, 0x68, 0x2f, 0x31, 0] : [0x30, 5, 0, 3, 0x68, 0x2f, 0x31])
    for (const [what, bytes] of Object.entries(malformed)) {
      await waitFor(() => app.mqtt.connected && broker.last.of('subscribe').length === 1, 'the connection')
      const connection = broker.last
      handled.length = 0
      connection.raw(Buffer.concat([good, bytes, good, good]))
      await connection.end()
      t.ok(handled.length <= 1, what)
      await waitFor(() => broker.last !== connection, 'the reconnect')
    }
    t.equal(app.mqtt.status().counters.failed, 0)
  })
}

t.test('QoS 2: a message under the id of one that failed is not lost with its connection', async t => {
  const handled: string[] = []
  const { broker } = await liveApp(t, kept, { ...durable, protocolVersion: 5 }, app => {
    app.mqtt.topic('h/<n>', { qos: 2 }, message => {
      const text = message.text()
      handled.push(text)
      if (text === 'bad in place') message.payload.fill(0)
      if (text !== 'good') throw new Error('on purpose')
    })
  })
  for (const bad of ['bad', 'bad in place']) {
    for (const [topic, payload, again] of [['h/1', 'good', [bad, 'good']], ['h/2', bad, [bad, bad]], ['h/1', bad, bad === 'bad' ? [bad] : [bad, bad]]] as const) {
      handled.length = 0
      const first = broker.last
      const answered = first.of('pubrec').length
      first.deliver({ topic: 'h/1', payload: bad, qos: 2, messageId: 1 })
      t.equal((await first.until('pubrec', answered + 1)).at(-1)!.reasonCode, 0x83, 'the id is free')
      first.drop()
      const next = await broker.connection(first.index + 1)
      next.deliver({ topic, payload, qos: 2, messageId: 1, dup: true })
      t.equal((await next.until('pubrec'))[0]!.reasonCode ?? 0, payload === 'good' ? 0 : 0x83)
      t.strictSame(handled, again)
      if (payload === 'good') await next.until('pubcomp')
    }
  }
  handled.length = 0
  const answered = broker.last.of('pubrec').length
  for (let i = 1; i <= 2; i++) {
    broker.last.deliver({ topic: 'h/1', payload: 'bad', qos: 2, messageId: 1 })
    await broker.last.until('pubrec', answered + i)
  }
  t.strictSame(handled, ['bad', 'bad'], 'without DUP it is a new message, however alike')
})

t.test('keepalive holds while the reading is paused', async t => {
  const gates = new Gates()
  const { app, broker } = await liveApp(t, {}, { ...durable, keepalive: 1, inbox: { maxMessages: 1 } }, app => {
    app.mqtt.topic('h/<n>', { qos: 1 }, () => gates.wait('h'))
  })
  broker.last.deliver(...messages(1, 3))
  await gates.entered('h')
  await broker.last.until('pingreq', 3)
  t.equal(app.mqtt.connected, true)
  gates.open('h')
  await broker.last.until('puback', 3)
  await broker.last.until('pingreq', 4)
  t.equal(broker.connections.length, 1)
})

t.test('keepalive holds when the answer to a ping lies behind what paused the reading', async t => {
  const gates = new Gates()
  const { broker } = await liveApp(t, {
    onPing: (_packet, connection) => {
      if (connection.of('pingreq').length > 1) return undefined
      connection.deliver(...messages(1, 1))
      void gates.entered('h').then(() => { connection.send({ cmd: 'pingresp' }) })
      return false
    }
  }, { ...durable, keepalive: 1, inbox: { maxMessages: 1 } }, app => {
    app.mqtt.topic('h/<n>', { qos: 1 }, () => gates.wait('h'))
  })
  const connection = broker.last
  await waitFor(() => connection.closed || connection.of('pingreq').length >= 3, 'two more pings, or the end')
  t.equal(connection.closed, false)
  gates.open('h')
})

t.test('a busy route leaves others their turn', async t => {
  const gates = new Gates()
  const order: string[] = []
  const { app, broker } = await liveApp(t, {}, { concurrency: 2, ackOrder: 'handled' }, app => {
    app.mqtt.topic('busy/<n>', { qos: 1 }, message => { order.push('busy'); return gates.wait(message.params.n) })
    app.mqtt.topic('other/<n>', { qos: 1 }, () => { order.push('other') })
  })
  const busy = (n: number): Delivered => ({ topic: `busy/${n}`, qos: 1, messageId: n })
  broker.last.deliver(busy(1), busy(2))
  await gates.entered('1', '2')
  broker.last.deliver({ topic: 'other/1', qos: 1, messageId: 100 }, ...Array.from({ length: 20 }, (_, i) => busy(i + 3)))
  await waitFor(() => app.mqtt.status().inbox.messages === 23, 'the messages')
  for (let n = 1; n <= 22; n++) {
    gates.open(String(n))
    await broker.last.until('puback', n)
  }
  await broker.last.until('puback', 23)
  t.ok(order.indexOf('other') < 8, `the other route came after ${order.indexOf('other')} of the busy one, of which two were before it`)
})

t.test('own publishes are confirmed while a handler takes its time', async t => {
  const gates = new Gates()
  const { app, broker } = await liveApp(t, {}, {}, app => { app.mqtt.topic('h/<n>', { qos: 2 }, () => gates.wait('h')) })
  broker.last.deliver(...messages(1, 5, 2))
  await gates.entered('h')
  for (const qos of [0, 1, 2] as const) t.equal((await outcome(app.mqtt.publish('x', '', { qos }))).code, 'ok')
  gates.open('h')
  await broker.last.until('pubcomp', 5)
})

t.test('closing: a handler that runs is acknowledged, what comes meanwhile is not', async t => {
  const gates = new Gates()
  const { app, broker } = await liveApp(t, {}, { ...durable, closeTimeout: 2_000 }, app => { app.mqtt.topic('h/<n>', { qos: 1 }, message => gates.wait(message.params.n)) })
  broker.last.deliver(...messages(1, 1))
  await gates.entered('1')
  const closing = app.close()
  await waitFor(() => app.mqtt.status().inbox.messages === 1, 'the start')
  await turn()
  await turn()
  broker.last.deliver(...messages(2, 2))
  await turn()
  gates.open('1')
  await closing
  t.strictSame(acknowledged(broker.last), [1])
  t.equal(gates.count('2'), 0)
  t.equal(broker.last.received.at(-1)!.cmd, 'disconnect')
})

t.test('closing: nothing new is taken in, under the id of a QoS 2 message that failed or too large', async t => {
  const gates = new Gates()
  const handled: string[] = []
  const { app, broker } = await liveApp(t, {}, { ...durable, closeTimeout: 2_000, maxPayload: 1_000, ackOrder: 'handled' }, app => {
    app.mqtt.topic('h', { qos: 2 }, message => { handled.push(message.text()); throw new Error('on purpose') })
    app.mqtt.topic('slow', { qos: 1 }, () => gates.wait('slow'))
  })
  const bad = { topic: 'h', payload: 'bad', qos: 2, messageId: 1 } as const
  broker.last.deliver(bad)
  await broker.last.until('pubrec')
  broker.last.deliver({ topic: 'slow', qos: 1, messageId: 2 })
  await gates.entered('slow')
  const closing = app.close()
  await waitFor(() => app.mqtt.state === 'closing', 'closing')
  const payload = Buffer.alloc(1_001)
  broker.last.deliver(
    { ...bad, payload: 'late' }, { ...bad, payload: 'late and again', dup: true }, { ...bad, payload: 'late too', messageId: 3 },
    { topic: 'h', payload, qos: 1, messageId: 4 }, { topic: 'h', payload: Buffer.alloc(400_000), qos: 1, messageId: 5 },
    { ...bad, dup: true })
  // The answer to what is known shows that all before it was read.
  await broker.last.until('pubrec', 2)
  gates.open('slow')
  await closing
  t.strictSame(handled, ['bad'])
  t.strictSame(acknowledged(broker.last).sort((a, b) => a - b), [1, 1, 2])
  t.match(app.mqtt.status().counters, { oversize: 0 })
})

t.test('closing: a flood does not keep the answers to our own publishes', async t => {
  const gates = new Gates()
  const { app } = await liveApp(t, {
    onPublish: ({ messageId }, connection) => {
      connection.deliver(...messages(1, 20_000))
      connection.send({ cmd: 'puback', messageId: messageId! })
      return false
    }
  }, { inbox: { maxMessages: 10 }, concurrency: 1, closeTimeout: 1_000 }, app => {
    app.mqtt.topic('h/<n>', { qos: 1 }, ({ params }) => gates.wait(params.n))
  })
  const own = outcome(app.mqtt.publish('own', '', { qos: 1 }))
  await waitFor(() => app.mqtt.status().inbox.messages > 1_000, 'more than the limit')
  const closing = app.close()
  await waitFor(() => app.mqtt.state === 'closing', 'closing')
  gates.open('1')
  await gates.entered('2')
  t.equal((await own).code, 'ok')
  await closing
})
