import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import type { Message } from '../../lib/index.ts'
import { buildApp, connect } from '../support/app.ts'
import { waitFor } from '../support/events.ts'
import { temporaryFolder } from '../support/folder.ts'
import { Ledger } from '../support/ledger.ts'
import { endMortal, startMortal } from './mortal.ts'
import { expectWhole } from './whole.ts'
import { clientsMissing, collect, reaching, runClient, startTalkative, subscribe, VERSIONS } from './mosquitto-clients.ts'

/* An application and mosquitto's own clients, which are written in C on libmosquitto, both ways. */

const skip = clientsMissing()
const EACH = 300
const BINARY = Buffer.from(Array.from({ length: 512 }, (_, i) => i % 256))
const QOS = [0, 1, 2] as const

t.setTimeout(60_000)

for (const version of VERSIONS) {
  const is5 = version === 'mqttv5'

  t.test(version, { skip }, t => {
    t.test('mosquitto_pub -l: a message a line, none lost, none twice', async t => {
      const broker = await startTalkative(t)
      const { app } = await buildApp(t, { url: broker.url, prefix: 'plant' })
      const ledgers = QOS.map(() => new Ledger())
      app.mqtt.topic('line/<int:qos>', { qos: 2 }, ({ params, qos, body }) => {
        if (params.qos === qos) ledgers[qos]!.received(body as number)
      })
      await connect(app)
      await Promise.all(QOS.map(async qos => {
        const lines = Array.from({ length: EACH }, () => `${ledgers[qos]!.next()}\n`).join('')
        await runClient(t, 'mosquitto_pub', [...reaching(broker, version), '-t', `plant/line/${qos}`, '-q', String(qos), '-l'], lines)
        // It ends when all of them are confirmed.
        for (let n = 1; n <= EACH; n++) ledgers[qos]!.confirmed(n)
      }))
      await waitFor(() => ledgers.every(({ counts }) => counts.received === EACH), 'all lines')
      for (const ledger of ledgers) expectWhole(t, ledger)
      t.match(app.mqtt.status().counters, { received: 3 * EACH, handled: 3 * EACH, unmatched: 0 })
      t.comment(`${version}: ${ledgers.map(({ counts }) => counts.received).join(' + ')} lines, 0 lost, 0 twice`)
    })

    t.test('mosquitto_pub -m, -n, -f, -s, -r and -D', async t => {
      const broker = await startTalkative(t)
      const file = join(temporaryFolder(t), 'payload')
      writeFileSync(file, BINARY)
      const publish = async (topic: string, args: string[], input: string | Buffer = ''): Promise<void> => {
        await runClient(t, 'mosquitto_pub', [...reaching(broker, version), '-t', topic, ...args], input)
      }
      await publish('in/kept', ['-m', 'from before', '-q', '1', '-r'])
      const { app } = await buildApp(t, { url: broker.url, protocolVersion: is5 ? 5 : 4, prefix: 'in' })
      const got = new Map<string, Message>()
      app.mqtt.topic('<name>', { qos: 2 }, message => { got.set(message.params.name, message as never) })
      await connect(app)
      await publish('in/größe 😀', ['-m', 'ü', '-q', '2'])
      await publish('in/json', ['-m', '{"celsius":21.5}', '-q', '1'])
      await publish('in/nothing', ['-n'])
      await publish('in/empty', ['-m', '', '-q', '2'])
      await publish('in/file', ['-f', file, '-q', '2'])
      await publish('in/stdin', ['-s', '-q', '1'], 'two\nlines\n')
      await publish('in/large', ['-s', '-q', '1'], Buffer.alloc(300_000, 'x'))
      await waitFor(() => got.size === 8, 'all of them')
      const bodies = Object.fromEntries([...got].map(([name, { body, qos, retain }]) => [name, { body, qos, retain }]))
      t.strictSame(bodies, {
        kept: { body: 'from before', qos: 1, retain: true },
        'größe 😀': { body: 'ü', qos: 2, retain: false },
        json: { body: { celsius: 21.5 }, qos: 1, retain: false },
        nothing: { body: '', qos: 0, retain: false },
        empty: { body: '', qos: 2, retain: false },
        file: { body: BINARY, qos: 2, retain: false },
        stdin: { body: 'two\nlines\n', qos: 1, retain: false },
        large: { body: 'x'.repeat(300_000), qos: 1, retain: false }
      })
      if (!is5) return
      await publish('in/properties', [
        '-m', '{}', '-q', '1', '-D', 'publish', 'content-type', 'application/json', '-D', 'publish', 'payload-format-indicator', '1',
        '-D', 'publish', 'message-expiry-interval', '600', '-D', 'publish', 'correlation-data', 'ünique', '-D', 'publish', 'response-topic', 'answers/größe',
        '-D', 'publish', 'user-property', 'b', '1', '-D', 'publish', 'user-property', 'a', 'ü', '-D', 'publish', 'user-property', 'b', '2'
      ])
      await waitFor(() => got.size === 9, 'the one with properties')
      const { messageExpiryInterval = 0, userProperties, correlationData, ...others } = got.get('properties')!.properties
      t.strictSame(others, { contentType: 'application/json', payloadFormatIndicator: true, responseTopic: 'answers/größe' })
      t.strictSame(Buffer.from(correlationData!), Buffer.from('ünique'))
      t.strictSame({ ...userProperties }, { b: ['1', '2'], a: 'ü' })
      t.ok(messageExpiryInterval > 500 && messageExpiryInterval <= 600)
    })

    t.test('mosquitto_sub gets what the application publishes', async t => {
      const broker = await startTalkative(t)
      const { app } = await buildApp(t, { url: broker.url, protocolVersion: is5 ? 5 : 4, prefix: 'plant' })
      await connect(app)
      await app.mqtt.publish('kept/a', 'a', { qos: 1, retain: true })
      await app.mqtt.publish('kept/b', 'b', { qos: 1, retain: true })
      await app.mqtt.publish('kept/b', '', { qos: 1, retain: true })
      const { messages } = await subscribe(t, broker, version, ['-t', 'plant/#', '-q', '2'])
      const ledgers = QOS.map(() => new Ledger())
      await Promise.all(Array.from({ length: 3 * EACH }, async (_, i) => {
        const ledger = ledgers[i % 3]!
        const n = ledger.next()
        await app.mqtt.publish(`n/${i % 3}`, n, { qos: QOS[i % 3]! })
        ledger.confirmed(n)
      }))
      await app.mqtt.publish('größe 😀', BINARY, {
        qos: 2, properties: is5 ? { contentType: 'text/größe', messageExpiryInterval: 600, responseTopic: 'a/b', userProperties: { b: ['1', '2'], a: 'ü' } } : {}
      })
      await app.mqtt.publish('nothing', null, { qos: 1 })
      await waitFor(() => messages.length === 3 * EACH + 3, 'all of them')
      for (const { topic, payload, qos } of messages) if (topic === `plant/n/${qos}`) ledgers[qos]!.received(Number(payload.toString()))
      for (const ledger of ledgers) expectWhole(t, ledger)
      const others = messages.filter(({ topic }) => !topic.startsWith('plant/n/'))
      t.match(others.find(({ topic }) => topic === 'plant/kept/a'), { payload: Buffer.from('a'), qos: 1, retain: true })
      t.notOk(others.find(({ topic }) => topic === 'plant/kept/b'), 'emptied')
      t.match(others.find(({ topic }) => topic === 'plant/nothing'), { payload: Buffer.alloc(0), qos: 1, retain: false })
      const bytes = others.find(({ topic }) => topic === 'plant/größe 😀')!
      t.match(bytes, { payload: BINARY, qos: 2, retain: false })
      if (is5) t.match(bytes, { contentType: 'text/größe', expiry: /^(600|59\d|5[5-8]\d)$/, responseTopic: 'a/b', userProperties: 'b:1 b:2 a:ü' })
      t.comment(`${version}: ${ledgers.map(({ counts }) => counts.received).join(' + ')} messages, 0 lost, 0 twice`)
    })

    t.test('mosquitto_sub -c: a kept session gets what was published while it was away', async t => {
      const broker = await startTalkative(t)
      const { app } = await buildApp(t, { url: broker.url })
      await connect(app)
      const session = ['-c', '-i', 'away', '-t', 'mail/#', '-q', '2']
      await runClient(t, 'mosquitto_sub', [...reaching(broker, version), ...session, '-E'])
      const ledger = new Ledger()
      await Promise.all(Array.from({ length: 200 }, async (_, i) => {
        const n = ledger.next()
        await app.mqtt.publish(`mail/${i % 2}`, n, { qos: i % 2 === 0 ? 1 : 2 })
        ledger.confirmed(n)
      }))
      for (const { payload } of await collect(t, broker, version, [...session, '-C', '200'])) ledger.received(Number(payload.toString()))
      expectWhole(t, ledger)
      t.comment(`${version}: ${ledger.counts.received} kept, 0 lost, 0 twice`)
    })

    t.test('$share: two mosquitto_sub part the messages between them', async t => {
      const broker = await startTalkative(t)
      const { app } = await buildApp(t, { url: broker.url, prefix: 'plant' })
      await connect(app)
      const members = [
        await subscribe(t, broker, version, ['-t', '$share/crew/plant/job/+', '-q', '2']),
        await subscribe(t, broker, version, ['-t', '$share/crew/plant/job/+', '-q', '2'])
      ]
      const ledger = new Ledger()
      await Promise.all(Array.from({ length: 100 }, async () => {
        const n = ledger.next()
        await app.mqtt.publish(`job/${n}`, n, { qos: 2 })
        ledger.confirmed(n)
      }))
      await waitFor(() => members.reduce((sum, { messages }) => sum + messages.length, 0) >= 100, 'all jobs')
      for (const { payload } of members.flatMap(({ messages }) => messages)) ledger.received(Number(payload.toString()))
      expectWhole(t, ledger)
      t.ok(members.every(({ messages }) => messages.length > 0), 'both had some')
    })

    t.test('--will-topic: a client that dies reaches a route, one that says goodbye does not', async t => {
      const broker = await startTalkative(t)
      const { app } = await buildApp(t, { url: broker.url, prefix: 'plant' })
      const wills: Message[] = []
      app.mqtt.topic('gone/<name>', { qos: 2 }, message => { wills.push(message as never) })
      await connect(app)
      const will = (name: string): string[] => [
        '-t', 'none', '--will-topic', `plant/gone/${name}`, '--will-payload', '{"online":false}', '--will-qos', '2', '--will-retain',
        ...(is5 ? ['-D', 'will', 'user-property', 'cause', 'ü', '-D', 'will', 'content-type', 'application/json'] : [])
      ]
      await runClient(t, 'mosquitto_sub', [...reaching(broker, version), ...will('polite'), '-E'])
      const { program } = await subscribe(t, broker, version, will('größe'))
      await program.kill()
      await waitFor(() => wills.length > 0, 'the will')
      t.equal(wills.length, 1)
      t.match(wills[0], { topic: 'gone/größe', params: { name: 'größe' }, body: { online: false }, qos: 2, retain: false })
      if (is5) t.match(wills[0]!.properties, { contentType: 'application/json', userProperties: { cause: 'ü' } })
      const late = await subscribe(t, broker, version, ['-t', 'plant/gone/#'])
      await waitFor(() => late.messages.length === 1, 'the kept one')
      t.match(late.messages[0], { topic: 'plant/gone/größe', retain: true })
    })

    t.test('an application that is killed: its will reaches mosquitto_sub', async t => {
      const broker = await startTalkative(t)
      const { messages } = await subscribe(t, broker, version, ['-t', 'plant/#', '-q', '2'])
      const child = await startMortal(t, { url: broker.url, protocolVersion: is5 ? 5 : 4 })
      await endMortal(child, 'killed')
      await waitFor(() => messages.length === 1, 'the will')
      t.match(messages[0], { topic: 'plant/status/größe', qos: 1, retain: false })
      t.strictSame(JSON.parse(messages[0]!.payload.toString()), { online: false, pid: child.pid })
      if (is5) t.match(messages[0], { contentType: 'application/json', userProperties: 'cause:unknown cause:sudden' })
    })

    t.end()
  })
}

t.test('mosquitto_rr with MQTT 5: answers of any kind, at each QoS, several at once', { skip }, async t => {
  const broker = await startTalkative(t)
  const { app } = await buildApp(t, { url: broker.url, prefix: 'plant' })
  const asked: string[] = []
  app.mqtt.setErrorHandler(() => {})
  app.mqtt.topic('bytes', { qos: 2 }, message => { asked.push(message.text()); return BINARY })
  app.mqtt.topic('sum/<int:a>/<int:b>', { qos: 2 }, async ({ params: { a, b } }) => ({ sum: a + b }))
  app.mqtt.topic('sum/#', { qos: 2 }, () => 'the second route')
  app.mqtt.topic('properties', { qos: 1 }, ({ properties }) => ({ ...properties.userProperties }))
  app.mqtt.topic('silent', { qos: 1 }, () => {})
  app.mqtt.topic('fails', { qos: 1 }, () => { throw Object.assign(new Error('größe unknown'), { code: 'E_SIZE' }) })
  await connect(app)
  const ask = async (topic: string, args: string[]): Promise<string> =>
    (await runClient(t, 'mosquitto_rr', [...reaching(broker, 'mqttv5'), '-t', `plant/${topic}`, '-e', `answers/${topic}`, '-W', '10', ...args])).output
  t.equal(await ask('bytes', ['-m', 'größe', '-F', '%x']), `${BINARY.toString('hex')}\n`, 'every byte')
  t.strictSame(asked, ['größe'])
  const sums = await Promise.all(QOS.map(async qos => ask(`sum/${qos}/1`, ['-n', '-q', String(qos), '-F', '%q %r %t %p'])))
  t.strictSame(sums, QOS.map(qos => `${qos} 0 answers/sum/${qos}/1 {"sum":${qos + 1}}\n`))
  t.equal(await ask('properties', ['-n', '-D', 'publish', 'user-property', 'a', 'ü', '-D', 'publish', 'correlation-data', 'mine', '-F', '%p %D']), '{"a":"ü"} mine\n')
  t.equal(await ask('silent', ['-n', '-F', '[%p]']), '[]\n', 'an empty answer is one')
  t.equal(await ask('fails', ['-n', '-F', '[%p] %P']), '[] error-code:E_SIZE error-message:größe unknown\n')
  t.match(app.mqtt.status().counters, { unmatched: 0, failed: 1 })
})

t.test('mosquitto_rr with MQTT 3.1.1: nothing in the message asks, so a handler answers by publishing', { skip }, async t => {
  const broker = await startTalkative(t)
  const { app } = await buildApp(t, { url: broker.url, prefix: 'plant' })
  app.mqtt.topic('ask/<name>', { qos: 1 }, async ({ params }) => {
    await app.mqtt.publish(`answer/${params.name}`, 'it is', { qos: 1 })
    return 'to nobody'
  })
  await connect(app)
  const { output } = await runClient(t, 'mosquitto_rr', [
    ...reaching(broker, 'mqttv311'), '-t', 'plant/ask/größe', '-e', 'plant/answer/größe', '-m', 'is it', '-q', '1', '-W', '10'
  ])
  t.equal(output, 'it is\n')
  // The answer may be there before its confirmation is here.
  await waitFor(() => app.mqtt.status().counters.handled === 1, 'the end of the handler')
  t.match(app.mqtt.status().counters, { received: 1, published: 1, refused: 0 }, 'and no other answer went out')
})
