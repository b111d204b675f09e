import t from 'tap'
import type { Message, QoS } from '../../lib/index.ts'
import { buildApp, connect, live } from '../support/app.ts'
import { waitFor } from '../support/events.ts'
import { Ledger } from '../support/ledger.ts'
import { mosquittoMissing, startMosquitto } from '../support/mosquitto.ts'
import { endMortal, startMortal } from './mortal.ts'
import { pahoMissing, startPaho } from './paho.ts'
import { expectWhole } from './whole.ts'

/*
 * An application and paho-mqtt, the client library of Python and of most devices that are not programmed in C, through
 * mosquitto and both ways. What one says the other must read as it was meant.
 */

const skip = pahoMissing() || mosquittoMissing()
const EACH = 300
const BINARY = Buffer.from(Array.from({ length: 512 }, (_, i) => i % 256))
const QOS = [0, 1, 2] as const

t.setTimeout(60_000)

for (const version of [5, 4] as const) {
  t.test(`MQTT ${version === 5 ? '5' : '3.1.1'}`, { skip }, t => {
    t.test('numbered messages both ways at each QoS: none lost, none twice', async t => {
      const broker = await startMosquitto(t)
      const { app } = await buildApp(t, { url: broker.url, protocolVersion: version, prefix: 'plant' })
      // Two, because paho 1.6 counts each QoS 2 message that it receives off those that it has sent, and then sends more
      // at once than mosquitto takes.
      const speaker = await startPaho(t, broker, { version })
      const listener = await startPaho(t, broker, { version })
      const up = QOS.map(() => new Ledger())
      const down = QOS.map(() => new Ledger())
      const wrongQos: string[] = []
      app.mqtt.topic('up/<int:qos>/<int:n>', { qos: 2 }, ({ params, qos, topic }) => {
        if (params.qos !== qos) wrongQos.push(topic)
        up[params.qos]!.received(params.n)
      })
      await connect(app)
      t.strictSame(await listener.subscribe('plant/down/#'), [2])
      const settled: Array<Promise<unknown>> = []
      for (let i = 0; i < EACH; i++) {
        for (const qos of QOS) {
          const u = up[qos]!.next()
          settled.push(speaker.publish({ topic: `plant/up/${qos}/${u}`, payload: '', qos }).then(() => up[qos]!.confirmed(u)))
          const d = down[qos]!.next()
          settled.push(app.mqtt.publish(`down/${qos}`, d, { qos }).then(() => down[qos]!.confirmed(d)))
        }
      }
      await Promise.all(settled)
      await waitFor(() => up.every(({ counts }) => counts.received === EACH), 'all at the application')
      for (const { topic, payload, qos } of await listener.received('plant/down/', 3 * EACH)) {
        if (topic !== `plant/down/${qos}`) wrongQos.push(topic)
        down[qos]!.received(Number(payload.toString()))
      }
      for (const ledger of [...up, ...down]) expectWhole(t, ledger)
      t.strictSame(wrongQos, [], 'each at its QoS')
      t.strictSame([speaker.connections, listener.connections, app.mqtt.status().counters.reconnects], [1, 1, 0], 'over one connection each')
      t.match(app.mqtt.status().counters, { received: 3 * EACH, handled: 3 * EACH, published: 3 * EACH, unmatched: 0, dropped: 0 })
      t.comment(`MQTT ${version}: ${up.map(({ counts }) => counts.received).join(' + ')} up, ${down.map(({ counts }) => counts.received).join(' + ')} down, 0 lost, 0 twice`)
    })

    t.test('what paho publishes: parameters, wildcards, unicode, JSON, bytes, nothing', async t => {
      const broker = await startMosquitto(t)
      const { app } = await buildApp(t, { url: broker.url, protocolVersion: version, prefix: 'größe' })
      const paho = await startPaho(t, broker, { version })
      const got: Array<Message> = []
      const note = (message: Message): void => { got.push(message) }
      app.mqtt.topic('device/<int:n>/<any(on,off):state>', { qos: 2 }, note as never)
      app.mqtt.topic('log/+/deep/#', { qos: 2 }, note)
      app.mqtt.topic('<name>', { qos: 2 }, note as never)
      await connect(app)
      const cases: Array<[topic: string, payload: string | Buffer, expected: object]> = [
        ['device/-7/on', '', { params: { n: -7, state: 'on' }, body: '' }],
        ['log/a b/deep/x//y', 'text', { wildcards: ['a b', 'x//y'], body: 'text' }],
        ['log//deep', '4', { wildcards: [''], body: 4 }],
        ['温度 😀', '{"celsius":[21.5,null]}', { params: { name: '温度 😀' }, body: { celsius: [21.5, null] } }],
        ['é', 'e\u0301', { params: { name: 'é' }, body: 'e\u0301' }],
        ['bytes', BINARY, { params: { name: 'bytes' }, body: BINARY }],
        ['large', 'x'.repeat(300_000), { params: { name: 'large' }, body: 'x'.repeat(300_000) }]
      ]
      for (const [i, [topic, payload]] of cases.entries()) await paho.publish({ topic: `größe/${topic}`, payload, qos: QOS[i % 3]! })
      await waitFor(() => got.length === cases.length, 'all of them')
      for (const [i, [topic, payload, expected]] of cases.entries()) {
        const message = got.find(message => message.topic === topic)!
        t.ok(message, topic)
        const { params, wildcards, body } = message
        t.strictSame({ params: { ...params }, wildcards: [...wildcards], body }, { params: {}, wildcards: [], ...expected }, topic)
        t.strictSame(Buffer.from(message.payload), Buffer.from(payload), topic)
        t.match(message, { absoluteTopic: `größe/${topic}`, qos: QOS[i % 3], retain: false, dup: false })
      }
      t.strictSame(got.find(({ topic }) => topic === '温度 😀')!.json(), { celsius: [21.5, null] })
      t.match(app.mqtt.status().counters, { received: cases.length, unmatched: 0, failed: 0 })
    })

    t.test('what the application publishes: QoS, retain, payloads of every kind', async t => {
      const broker = await startMosquitto(t)
      const { app } = await buildApp(t, { url: broker.url, protocolVersion: version })
      await connect(app)
      const paho = await startPaho(t, broker, { version })
      await paho.subscribe('out/#')
      const cases: Array<[payload: unknown, bytes: string | Buffer]> = [
        ['温度 😀', '温度 😀'], [21.5, '21.5'], [true, 'true'], [12n, '12'], [null, ''], [undefined, ''],
        [{ a: [1, 'ü'] }, '{"a":[1,"ü"]}'], [BINARY, BINARY], ['x'.repeat(300_000), 'x'.repeat(300_000)]
      ]
      for (const [i, [payload]] of cases.entries()) await app.mqtt.publish(`out/größe ${i}`, payload, { qos: QOS[i % 3]! })
      const got = await paho.received('out/', cases.length)
      for (const [i, [, bytes]] of cases.entries()) {
        t.strictSame(got.find(({ topic }) => topic === `out/größe ${i}`), {
          topic: `out/größe ${i}`, payload: Buffer.from(bytes), qos: QOS[i % 3], retain: false, properties: {}
        })
      }
    })

    t.test('retained messages greet who comes later, and go when they are emptied', async t => {
      const broker = await startMosquitto(t)
      const paho = await startPaho(t, broker, { version })
      for (const qos of QOS) await paho.publish({ topic: `state/${qos}`, payload: `of ${qos}`, qos, retain: true })
      const { app } = await buildApp(t, { url: broker.url, protocolVersion: version })
      const got: Array<[topic: string, text: string, qos: QoS, retain: boolean]> = []
      app.mqtt.topic('state/<name>', { qos: 2 }, message => { got.push([message.topic, message.text(), message.qos, message.retain]) })
      await connect(app)
      await waitFor(() => got.length === 3, 'the retained ones')
      t.strictSame(got.splice(0).sort(([one], [other]) => one < other ? -1 : 1), [0, 1, 2].map(qos => [`state/${qos}`, `of ${qos}`, qos, true]))
      await paho.publish({ topic: 'state/1', payload: 'news', qos: 1, retain: true })
      await waitFor(() => got.length === 1, 'the news')
      t.strictSame(got.splice(0), [['state/1', 'news', 1, false]], 'to who was there already it is not retained')

      await app.mqtt.publish('kept/a', 'a', { qos: 2, retain: true })
      await app.mqtt.publish('kept/b', 'b', { qos: 1, retain: true })
      await app.mqtt.publish('kept/b', '', { qos: 1, retain: true })
      await paho.subscribe('kept/#')
      await app.mqtt.publish('kept/end', 'end', { qos: 2 })
      await paho.received('kept/end', 1)
      t.strictSame(await paho.received('kept/', 2), [
        { topic: 'kept/a', payload: Buffer.from('a'), qos: 2, retain: true, properties: {} },
        { topic: 'kept/end', payload: Buffer.from('end'), qos: 2, retain: false, properties: {} }
      ])
    })

    t.test('paho dies: its will reaches a route', async t => {
      const broker = await startMosquitto(t)
      const { app } = await buildApp(t, { url: broker.url, protocolVersion: version, prefix: 'plant' })
      const wills: Message[] = []
      app.mqtt.topic('gone/<name>', { qos: 2 }, message => { wills.push(message as never) })
      await connect(app)
      for (const qos of QOS) {
        const paho = await startPaho(t, broker, {
          version,
          will: {
            topic: `plant/gone/paho ${qos}`, payload: '{"online":false}', qos, retain: qos === 1, properties: { contentType: 'application/json', userProperties: [['a', '1']] }
          }
        })
        await paho.kill()
        await waitFor(() => wills.length === qos + 1, 'the will')
      }
      for (const [qos, message] of wills.entries()) {
        t.match(message, { topic: `gone/paho ${qos}`, params: { name: `paho ${qos}` }, body: { online: false }, qos, retain: false })
        if (version === 5) t.match(message.properties, { contentType: 'application/json', userProperties: { a: '1' } })
      }
    })

    t.test('the application dies: its will reaches paho; it closes: there is none', async t => {
      const broker = await startMosquitto(t)
      const paho = await startPaho(t, broker, { version })
      await paho.subscribe('plant/#')
      const closed = await startMortal(t, { url: broker.url, protocolVersion: version })
      await endMortal(closed, 'closed')
      const killed = await startMortal(t, { url: broker.url, protocolVersion: version })
      await endMortal(killed, 'killed')
      await paho.received('plant/status/', 1)
      // Behind whatever else there might be.
      await paho.publish({ topic: 'plant/end', payload: '', qos: 1 })
      await paho.received('plant/end', 1)
      const [will, ...others] = await paho.received('plant/status/', 1)
      t.strictSame(others, [])
      t.strictSame(JSON.parse(will!.payload.toString()), { online: false, pid: killed.pid })
      t.match(will, { topic: 'plant/status/größe', qos: 1, retain: false })
      if (version === 5) {
        const { messageExpiryInterval = 0, ...properties } = will!.properties
        t.strictSame(properties, { contentType: 'application/json', payloadFormatIndicator: 1, userProperties: [['cause', 'unknown'], ['cause', 'sudden']] })
        t.ok(messageExpiryInterval > 500 && messageExpiryInterval <= 600, `expires in ${messageExpiryInterval} s`)
      } else t.strictSame(will!.properties, {})
      const late = await startPaho(t, broker, { version })
      await late.subscribe('plant/#')
      t.match(await late.received('plant/status/', 1), [{ retain: true, qos: 1 }], 'and it was kept')
    })
    t.end()
  })
}

t.test('MQTT 5: properties, both ways', { skip }, async t => {
  const broker = await startMosquitto(t)
  const { app } = await buildApp(t, { url: broker.url, protocolVersion: 5 })
  const paho = await startPaho(t, broker, { version: 5 })
  const got: Message[] = []
  app.mqtt.topic('in/<int:n>', { qos: 2 }, message => { got.push(message as never) })
  await connect(app)
  await paho.subscribe('out/#')
  const correlationData = Buffer.from([0, 1, 0xff, 0xfe])
  for (const qos of QOS) {
    await paho.publish({
      topic: `in/${qos}`,
      payload: 'ü',
      qos,
      properties: {
        contentType: 'text/größe',
        payloadFormatIndicator: 1,
        messageExpiryInterval: 600,
        correlationData,
        userProperties: [['b', '1'], ['a', 'ü'], ['b', '2'], ['__proto__', 'x'], ['', '']]
      }
    })
    await app.mqtt.publish(`out/${qos}`, 'ü', {
      qos,
      properties: {
        contentType: 'text/größe',
        payloadFormatIndicator: true,
        messageExpiryInterval: 600,
        responseTopic: 'answers/größe',
        correlationData,
        userProperties: { b: ['1', '2'], a: 'ü', '': '' }
      }
    })
  }
  await waitFor(() => got.length === 3, 'all at the application')
  const aged = (seconds: number | undefined): boolean => seconds !== undefined && seconds > 500 && seconds <= 600
  for (const { properties } of got) {
    const { messageExpiryInterval, userProperties, correlationData: data, ...others } = properties
    t.ok(aged(messageExpiryInterval))
    t.strictSame(Buffer.from(data!), correlationData)
    t.strictSame(others, { contentType: 'text/größe', payloadFormatIndicator: true })
    t.strictSame(Object.entries(userProperties!), [['b', ['1', '2']], ['a', 'ü'], ['__proto__', 'x'], ['', '']])
    t.equal(Object.getPrototypeOf(userProperties), null)
  }
  for (const { properties } of await paho.received('out/', 3)) {
    const { messageExpiryInterval, ...others } = properties
    t.ok(aged(messageExpiryInterval))
    t.strictSame(others, {
      contentType: 'text/größe',
      payloadFormatIndicator: 1,
      responseTopic: 'answers/größe',
      correlationData,
      userProperties: [['b', '1'], ['b', '2'], ['a', 'ü'], ['', '']]
    })
  }
})

t.test('MQTT 5: paho asks and gets what the handler returned', { skip }, async t => {
  const broker = await startMosquitto(t)
  const { app } = await buildApp(t, { url: broker.url, protocolVersion: 5, prefix: 'plant' })
  app.mqtt.setErrorHandler(() => {})
  app.mqtt.topic('sum/<int:a>/<int:b>', { qos: 1, order: 'none' }, async ({ params: { a, b } }) => {
    // Answers leave in another order than the questions came.
    if (a % 3 === 0) await new Promise(resolve => { setImmediate(resolve) })
    return { sum: a + b }
  })
  app.mqtt.topic('echo', { qos: 1 }, message => message.payload)
  app.mqtt.topic('silent', { qos: 1 }, () => {})
  app.mqtt.topic('fails', { qos: 1 }, () => { throw Object.assign(new Error('größe unknown'), { code: 'E_SIZE' }) })
  await connect(app)
  const paho = await startPaho(t, broker, { version: 5 })
  await paho.subscribe('answers/größe', 1)
  const ask = (topic: string, tag: string, payload: string | Buffer = ''): Promise<void> => paho.publish({
    topic: `plant/${topic}`, payload, qos: 1, properties: { responseTopic: 'answers/größe', correlationData: Buffer.from(`\0${tag}\xff`, 'latin1') }
  })
  await Promise.all(Array.from({ length: 100 }, (_, n) => ask(`sum/${n}/1`, `sum ${n}`)))
  await ask('echo', 'echo', BINARY)
  await ask('silent', 'silent')
  await ask('fails', 'fails')
  const answers = await paho.received('answers/', 103)
  const byTag = new Map(answers.map(answer => [answer.properties.correlationData!.toString('latin1').slice(1, -1), answer]))
  t.equal(byTag.size, 103, 'one answer each')
  const sums = Array.from({ length: 100 }, (_, n) => n)
  t.strictSame(sums.map(n => byTag.get(`sum ${n}`)!.payload.toString()), sums.map(n => `{"sum":${n + 1}}`))
  t.strictSame(byTag.get('echo')!.payload, BINARY)
  t.strictSame(byTag.get('silent')!.payload, Buffer.alloc(0))
  t.match(byTag.get('fails')!.properties.userProperties, [['error-code', 'E_SIZE'], ['error-message', 'größe unknown']])
  t.equal(byTag.get('fails')!.payload.length, 0)
  t.ok(answers.every(({ qos, retain }) => qos === 1 && !retain))
  await paho.publish({ topic: 'answers/größe', payload: 'end', qos: 1 })
  await waitFor(() => paho.messages.at(-1)?.payload.toString() === 'end', 'the end')
  t.equal(paho.messages.length, 104, 'and no second one')
})

t.test('MQTT 5: the application asks and paho answers', { skip }, async t => {
  const broker = await startMosquitto(t)
  const { app } = await buildApp(t, { url: broker.url, protocolVersion: 5, prefix: 'plant' })
  await connect(app)
  const paho = await startPaho(t, broker, { version: 5 })
  await paho.answer('plant/ask/+')
  const answers = await Promise.all(Array.from({ length: 100 }, (_, n) => app.mqtt.request(`ask/${n}`, n, { qos: n % 2 === 0 ? 0 : 1 })))
  t.strictSame(answers.map(answer => answer.text()), answers.map((_, n) => `answer to ${n}`))
  t.match(answers[0], { properties: { contentType: 'text/plain' }, qos: 0 })
  t.equal(answers[1]!.qos, 1)
  await live(app)
  t.match(app.mqtt.status().counters, { unmatched: 0, failed: 0 })
})
