import type { FastifyInstance } from 'fastify'
import t, { type Test } from 'tap'
import type { Message, MqttError } from '../../lib/index.ts'
import { live } from '../support/app.ts'
import { waitFor, withinTime } from '../support/events.ts'
import { besiege, watchProcess } from './fixtures/hostile.ts'
import { variable } from './fixtures/hostile-packets.ts'
import { nameOf, VERSIONS, type Version } from './fixtures/storms.ts'
import { scriptedApp } from './scripted-app.ts'
import type { ScriptedBroker, ScriptedConnection } from './scripted-broker.ts'

/*
 * Promise P23: a hostile broker can neither crash the application nor have a handler run for what is no message, and behind
 * a protocol error nothing is read.
 */

t.setTimeout(120_000)

type Part = number | string | Uint8Array | Part[]

/** Bytes, written down one after the other. */
function bytes (...parts: Part[]): Buffer {
  return Buffer.concat(parts.map(part => typeof part === 'number' ? Buffer.from([part]) : Array.isArray(part) ? bytes(...part) : Buffer.from(part as string)))
}

/** A packet around its content. */
function packet (first: number, ...content: Part[]): Buffer {
  const rest = bytes(...content)
  return bytes(first, variable(rest.length), rest)
}

/** A string or binary with its length in front (section 1.5.4). */
function field (...content: Part[]): Buffer {
  const rest = bytes(...content)
  return bytes(rest.length >> 8, rest.length & 255, rest)
}

/** A PUBLISH of QoS 0, or what comes close to one. */
function publish (version: Version, topic: Part, { first = 0x30, id, properties = [], payload = '' }: { first?: number, id?: number, properties?: Part, payload?: Part } = {}): Buffer {
  const block = bytes(properties)
  return packet(first, field(topic), id === undefined ? [] : [id >> 8, id & 255], version === 5 ? [variable(block.length), block] : [], payload)
}

interface Case {
  name: string
  bytes: (version: Version) => Buffer
  /** It has its meaning in this version only. */
  only?: Version
  /** What reaches handlers of it. */
  seen?: string[]
}

const user = (name: Part, value: Part): Part => [0x26, field(name), field(value)]
const on5 = (name: string, properties: Part, topic = 'a'): Case => ({ name: `PUBLISH with ${name}`, only: 5, bytes: () => publish(5, topic, { properties }), seen: [topic] })
const raw = (name: string, ...parts: Part[]): Case => ({ name, bytes: () => bytes(...parts) })

/** What no broker may send. */
const errors: Case[] = [
  ...[0x00, 0x0f, 0x41, 0x51, 0x60, 0x71, 0x91, 0xb1, 0xd1, 0xe1, 0xf1].map(first => raw(`0x${first.toString(16)}: reserved flags`, first, 2, 0, 1)),
  { name: 'PUBLISH with QoS 3', bytes: version => publish(version, 'a', { first: 0x36, id: 1 }) },
  { name: 'PUBLISH with DUP and QoS 0', bytes: version => publish(version, 'a', { first: 0x38 }) },
  { name: 'PUBLISH with packet id 0', bytes: version => publish(version, 'a', { first: 0x32, id: 0 }) },
  { name: 'PUBLISH of QoS 2 with packet id 0', bytes: version => publish(version, 'a', { first: 0x34, id: 0 }) },
  { name: 'PUBLISH without a topic', bytes: version => publish(version, '') },
  ...['+', '#', 'a/+', 'a/#', 'a+', '\0', 'a\0b'].map(topic => ({ name: `PUBLISH to ${JSON.stringify(topic)}`, bytes: (version: Version) => publish(version, topic) })),
  ...[[0xff], [0xc0, 0x80], [0xed, 0xa0, 0x80], [0xf8, 0x88, 0x80, 0x80, 0x80], [0x61, 0xc3]].map(topic => ({
    name: `PUBLISH to ${Buffer.from(topic).toString('hex')}, which is not UTF-8`, bytes: (version: Version) => publish(version, topic)
  })),
  raw('PUBLISH with a topic that goes past its end', 0x30, 4, 0, 9, 'ab'),
  raw('PUBLISH without room for a topic', 0x30, 1, 0),
  raw('PUBLISH without room for its packet id', 0x32, 4, 0, 1, 'a', 1),
  on5('a topic alias', [0x23, 0, 1]),
  on5('a topic alias and no topic', [0x23, 0, 1], ''),
  on5('topic alias 0', [0x23, 0, 0]),
  on5('a property twice: content type', [0x03, field('a'), 0x03, field('b')]),
  on5('a property twice: format', [0x01, 0, 0x01, 0]),
  on5('a property twice: expiry', [0x02, 0, 0, 0, 1, 0x02, 0, 0, 0, 1]),
  on5('a property twice: response topic', [0x08, field('a'), 0x08, field('a')]),
  on5('a property twice: correlation data', [0x09, field('a'), 0x09, field('a')]),
  on5('format 2', [0x01, 2]),
  on5('subscription identifier 0', [0x0b, 0]),
  on5('a subscription identifier of five bytes', [0x0b, 0x80, 0x80, 0x80, 0x80, 1]),
  on5('a property that there is not', [0x7e, 0]),
  on5("CONNACK's property", [0x21, 0, 1]),
  on5('a user property that is not UTF-8', user([0xff], 'a')),
  on5('a user property with NUL', user('a', '\0')),
  on5('a property that goes past its block', [0x03, 0, 9, 'a']),
  { name: 'PUBLISH with properties that go past its end', only: 5, bytes: () => packet(0x30, field('a'), 9, 0x01, 0) },
  { name: 'PUBLISH without properties', only: 5, bytes: () => packet(0x30, field('a')) },
  { name: 'PUBLISH with a property length of five bytes', only: 5, bytes: () => packet(0x30, field('a'), 0x80, 0x80, 0x80, 0x80, 1) },
  raw('a second CONNACK', 0x20, 2, 0, 0),
  { name: 'a second CONNACK with properties', only: 5, bytes: () => packet(0x20, 0, 0, 3, 0x21, 0, 1) },
  raw('a second CONNACK that refuses', 0x20, 2, 0, 5),
  { name: 'CONNECT', bytes: version => packet(0x10, field('MQTT'), version, 2, 0, 0, version === 5 ? 0 : [], field('x')) },
  { name: 'SUBSCRIBE', bytes: version => packet(0x82, 0, 1, version === 5 ? 0 : [], field('a'), 0) },
  { name: 'UNSUBSCRIBE', bytes: version => packet(0xa2, 0, 1, version === 5 ? 0 : [], field('a')) },
  raw('PINGREQ', 0xc0, 0),
  ...[0x40, 0x50, 0x62, 0x70].flatMap(first => [
    raw(`0x${first.toString(16)} with packet id 0`, first, 2, 0, 0),
    raw(`0x${first.toString(16)} without room for its id`, first, 1, 1),
    { ...raw(`0x${first.toString(16)} with more than its id`, first, 3, 0x80, 0, 0), only: 4 as const },
    { ...raw(`0x${first.toString(16)} with properties that go past its end`, first, 4, 0x80, 0, 0, 9), only: 5 as const }
  ]),
  raw('a remaining length of five bytes', 0x30, 0x80, 0x80, 0x80, 0x80, 1),
  raw('a SUBACK of 256 MB', 0x90, 0xff, 0xff, 0xff, 0x7f, 0, 1)
]

const reason: Part = [0x1f, field('r'.repeat(60_000))]
const thousand: Part = Array.from({ length: 1_000 }, (_, i) => user(['__proto__', 'constructor'][i % 2]!, 'polluted'))
const withProperties = (first: number, before: Part, properties: Part, behind: Part = []): Buffer => packet(first, before, variable(bytes(properties).length), properties, behind)

/** The same in packets that mqtt.js reads. */
const controlErrors: Case[] = [
  { ...raw('DISCONNECT, which 3.1.1 has from clients only', 0xe0, 0), only: 4 },
  { ...raw('AUTH, which 3.1.1 does not have', 0xf0, 0), only: 4 },
  { ...raw('AUTH, which nobody asked for', 0xf0, 0), only: 5 },
  { ...raw('AUTH to go on with a method', withProperties(0xf0, 0x18, [0x15, field('scram')])), only: 5 },
  raw('PINGRESP with a body', 0xd0, 2, 0, 0),
  raw('SUBACK without room for its id', 0x90, 1, 0),
  raw('SUBACK without a code', 0x90, 2, 0, 1),
  raw('SUBACK for packet id 0', 0x90, 4, 0, 0, 0, 0),
  raw('UNSUBACK without room for its id', 0xb0, 1, 0),
  { ...raw('UNSUBACK with a code, which 3.1.1 does not have', 0xb0, 3, 0, 1, 0), only: 4 },
  { ...raw('SUBACK with properties that go past its end', 0x90, 4, 0, 1, 9, 0), only: 5 },
  { ...raw('SUBACK with its reason twice', withProperties(0x90, [0, 1], [0x1f, field('a'), 0x1f, field('b')], 0)), only: 5 },
  { ...raw('SUBACK with a property of CONNACK', withProperties(0x90, [0, 1], [0x21, 0, 1], 0)), only: 5 }
]

/** What ends the connection without being an error: behind it nothing is read either. */
const farewells: Case[] = [
  { ...raw('DISCONNECT', 0xe0, 0), only: 5 },
  { ...raw('DISCONNECT with 60 kB of reason', withProperties(0xe0, 0x8b, reason)), only: 5 },
  { ...raw('DISCONNECT with a thousand user properties', withProperties(0xe0, 0x82, thousand)), only: 5 },
  { ...raw('DISCONNECT to another server', withProperties(0xe0, 0x9c, [0x1c, field('elsewhere:1883')])), only: 5 }
]

/** What there may not be in place of CONNACK, or before it. */
const early: Case[] = [
  { name: 'PUBLISH', bytes: version => publish(version, 'early') },
  raw('PUBACK', 0x40, 2, 0x80, 0),
  raw('PUBREL', 0x62, 2, 0, 1),
  { name: 'SUBACK', bytes: version => packet(0x90, 0, 1, version === 5 ? 0 : [], 0) },
  raw('PINGRESP', 0xd0, 0),
  raw('a packet of no type', 0, 0),
  raw('an HTTP server', 'HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n'),
  raw('a TLS server', 0x15, 3, 1, 0, 2, 2, 70),
  raw('CONNACK without a code', 0x20, 1, 0),
  raw('CONNACK of nothing', 0x20, 0),
  raw('CONNACK with flags', 0x21, 2, 0, 0),
  { ...raw('CONNACK with more than a code', 0x20, 3, 0, 0, 0), only: 4 },
  { ...raw('CONNACK without properties', 0x20, 2, 0, 0), only: 5 },
  raw('CONNACK of 256 MB', 0x20, 0xff, 0xff, 0xff, 0x7f, 0, 0),
  { name: 'CONNACK that refuses', bytes: version => version === 5 ? bytes(0x20, 3, 0, 0x88, 0) : bytes(0x20, 2, 0, 3) },
  { name: 'CONNACK with a code that there is not', bytes: version => version === 5 ? bytes(0x20, 3, 0, 0x7f, 0) : bytes(0x20, 2, 0, 99) },
  ...([
    ['Receive Maximum 0', [0x21, 0, 0]], ['Receive Maximum twice', [0x21, 0, 1, 0x21, 0, 1]], ['Maximum Packet Size 0', [0x27, 0, 0, 0, 0]],
    ['Maximum QoS 2', [0x24, 2]], ['a property that there is not', [0x7e, 0]], ['a reason that is cut off', [0x1f, 0, 9, 'a']]
  ] as Array<[string, Part]>).map(([name, properties]) => ({ ...raw(`CONNACK with ${name}`, withProperties(0x20, [0, 0], properties)), only: 5 as const })),
  { ...raw('AUTH', 0xf0, 0), only: 5 },
  { ...raw('DISCONNECT', 0xe0, 0), only: 5 }
]

/** What a broker may send, however odd it is. */
const lawful: Case[] = [
  ...[1, 2, 0x7fff, 0x8123, 0xbfff, 0xc123, 0xffff].flatMap(id => [0x40, 0x50, 0x62, 0x70].map(first => raw(`0x${first.toString(16)} for ${id}, which was never used`, first, 2, id >> 8, id & 255))),
  { name: 'SUBACK for an id that was never used', bytes: version => packet(0x90, 0x70, 0, version === 5 ? 0 : [], 0, 1, 2) },
  { name: 'UNSUBACK for an id that was never used', bytes: version => packet(0xb0, 0x70, 0, version === 5 ? [0, 0] : []) },
  raw('PINGRESP that nobody asked for', 0xd0, 0),
  ...['x'.repeat(65_535), '/'.repeat(65_534)].map(topic => ({ name: `a topic of ${topic.length} bytes`, bytes: (version: Version) => publish(version, topic), seen: [topic] })),
  ...['__proto__', 'constructor', 'toString', 'a/__proto__', '__proto__/__proto__/x', '\ufeff', '$SYS/__proto__', '$share/x/y'].map(topic => ({
    name: `a message to ${JSON.stringify(topic)}`, bytes: (version: Version) => publish(version, topic, { payload: '{"__proto__":{"polluted":true}}' }), seen: [topic]
  })),
  on5('60 kB of response topic with wildcards', [0x08, field('+/#'.repeat(20_000))]),
  on5('5 000 user properties', Array.from({ length: 5_000 }, (_, i) => user(['__proto__', 'constructor', 'hasOwnProperty', `k${i}`][i % 4]!, 'polluted'))),
  on5('2 000 subscription identifiers', Array.from({ length: 2_000 }, (_, i) => [0x0b, variable(i + 1)])),
  { ...raw('PUBACK with 60 kB of reason and a thousand user properties', withProperties(0x40, [0x8a, 0, 0x87], [reason, thousand])), only: 5 },
  { ...raw('SUBACK with 60 kB of reason and a thousand user properties', withProperties(0x90, [0x70, 0], [reason, thousand], 0)), only: 5 },
  { name: 'a message over maxPayload', bytes: version => publish(version, 'large', { payload: Buffer.alloc(5_000_000) }), seen: ['FST_MQTT_PAYLOAD'] }
]

/** An application on a broker that answers nothing on its first `attacks` connections, and everything after them. */
async function besieged (t: Test, version: Version, attacks: number): Promise<{ app: FastifyInstance, broker: ScriptedBroker, seen: string[], peace: () => Promise<void> }> {
  const alarms = watchProcess(t)
  const seen: string[] = []
  const answer = (_packet: unknown, { index }: ScriptedConnection): false | undefined => index < attacks ? false : undefined
  const { app, broker } = await scriptedApp(t, { onConnect: answer, onSubscribe: answer, onPublish: answer, onPubrec: answer }, {
    protocolVersion: version, maxPayload: 250_000, publishTimeout: 0, reconnect: { min: 1, max: 1 }
  })
  const see = (message: Message): void => {
    void [message.body, message.text(), message.wildcards]
    const { userProperties = Object.create(null) as object } = message.properties
    seen.push(Object.getPrototypeOf(userProperties) === null ? message.topic : 'an object with a prototype')
  }
  app.mqtt.topic('#', { qos: 2 }, see)
  app.mqtt.topic('<one>/<int:two>', () => {})
  app.mqtt.setNotFoundHandler(see)
  app.mqtt.setErrorHandler(error => { seen.push((error as MqttError).code) })
  const own = [1, 2].map(qos => app.mqtt.publish('own', '', { qos: qos as 1 | 2 }))
  await app.ready()
  return {
    app,
    broker,
    seen,
    async peace () {
      await broker.connection(attacks)
      await live(app)
      t.match(await Promise.all(own), [{ reasonCode: 0 }, { reasonCode: 0 }], 'what was pending all the time')
      broker.last.deliver({ topic: 'peace', qos: 2, messageId: 1 })
      await waitFor(() => seen.includes('peace'), 'a message')
      t.match(app.mqtt.status(), { state: 'connected', outbox: { messages: 0 }, inbox: { messages: 0 } })
      t.strictSame(alarms.uncaught, [], 'nothing uncaught')
      t.strictSame(alarms.warnings, [], 'no listener was left behind')
      t.equal(({} as { polluted?: unknown }).polluted, undefined)
      t.ok(broker.connections.every(({ error }) => error === undefined), 'nothing was sent that is no MQTT')
    }
  }
}

function connack (version: Version): Buffer {
  return version === 5 ? bytes(0x20, 3, 0, 0, 0) : bytes(0x20, 2, 0, 0)
}

/** Writes it in one go, or byte by byte, each in a turn of its own. */
async function write (connection: ScriptedConnection, wire: Buffer, whole: boolean): Promise<void> {
  if (whole) connection.raw(wire)
  else for (const byte of wire) { connection.raw(Buffer.from([byte])); await turn() }
}

function turn (): Promise<void> {
  return new Promise(resolve => { setImmediate(resolve) })
}

for (const version of VERSIONS) {
  const of = (cases: Case[]): Case[] => cases.filter(({ only }) => only === undefined || only === version)

  /** One after another, each on a connection of its own: what came to handlers of it and of the PUBLISH behind it. */
  const meet = async (t: Test, cases: Case[], { whole = true, wrap }: { whole?: boolean, wrap: (bytes: Buffer, i: number) => Buffer }, check: (seen: string[], i: number, closed: boolean) => void): Promise<void> => {
    const { broker, seen, peace } = await besieged(t, version, cases.length)
    for (const [i, { name, bytes: wrong }] of cases.entries()) {
      const connection = await broker.connection(i)
      await write(connection, bytes(wrap(wrong(version), i), publish(version, `behind/${i}`)), whole)
      await waitFor(() => connection.closed || seen.includes(`behind/${i}`), `the answer to ${name}`)
      check(seen.splice(0), i, connection.closed)
      connection.raw(Buffer.from([0]))
    }
    await peace()
    t.comment(`${cases.length} cases`)
  }

  t.test(nameOf(version), t => {
    for (const [title, cases] of [['protocol errors', of(errors)], ['protocol errors in what mqtt.js reads', of(controlErrors)], ['farewells', of(farewells)]] as const) {
      for (const [how, whole] of [['in one segment', true], ['byte by byte', false]] as const) {
        t.test(`P23: ${title}, ${how}: nothing behind them is read`, { skip: cases.length === 0 && 'there are none in this version' }, async t => {
          // Byte by byte it would take minutes.
          const some = cases.filter(one => whole || one.bytes(version).length < 1_000)
          await meet(t, some, { whole, wrap: (wrong, i) => bytes(connack(version), publish(version, `before/${i}`), wrong) }, (seen, i) => {
            t.strictSame(seen, [`before/${i}`], some[i]!.name)
          })
        })
      }
    }

    for (const [name, wrong] of [
      ['PUBREC for QoS 1', [0x50, 2, 0x80, 0]], ['PUBCOMP for QoS 1', [0x70, 2, 0x80, 0]],
      ['PUBACK for QoS 2', [0x40, 2, 0xc0, 0]], ['PUBCOMP before PUBREC', [0x70, 2, 0xc0, 0]]
    ] as Array<[string, number[]]>) {
      t.test(`P23: an answer to our own publish that does not fit it, ${name}: nothing behind it is read`, async t => {
        const { broker, seen, peace } = await besieged(t, version, 1)
        const connection = await broker.connection(0)
        connection.raw(connack(version))
        t.strictSame((await connection.until('publish', 2)).map(({ messageId }) => messageId), [0x8000, 0xc000])
        connection.raw(bytes(wrong, publish(version, 'behind')))
        await connection.end()
        t.strictSame(seen, [])
        await peace()
      })
    }

    t.test('P23: what comes before CONNACK, or for it: nothing behind it is read', async t => {
      const cases = of(early)
      await meet(t, cases, { wrap: wrong => bytes(wrong, connack(version)) }, (seen, i) => { t.strictSame(seen, [], cases[i]!.name) })
    })

    t.test('P23: what is odd and lawful: the connection goes on', async t => {
      const cases = of(lawful)
      await meet(t, cases, { wrap: (odd, i) => bytes(connack(version), publish(version, `before/${i}`), odd) }, (seen, i, closed) => {
        t.strictSame({ seen, closed }, { seen: [`before/${i}`, ...cases[i]!.seen ?? [], `behind/${i}`], closed: false }, cases[i]!.name)
      })
    })

    t.test('P23: answers to SUBSCRIBE and UNSUBSCRIBE that are none: the next connection has it right', async t => {
      const answers: Part[] = [[], [0, 0], [0, 0x80], [0x80, 0], 3, 0x7f, 0xff, Buffer.alloc(1_000)]
      for (const codes of answers) {
        for (const first of [0x90, 0xb0]) {
          const { app, broker } = await scriptedApp(t, {
            onSubscribe: ({ messageId }, connection) => {
              if (connection.index > 0) return undefined
              connection.raw(packet(first, messageId! >> 8, messageId! & 255, version === 5 ? 0 : [], codes))
              return false
            },
            onUnsubscribe: ({ messageId }, connection) => {
              if (connection.index !== 1) return undefined
              connection.raw(packet(first, messageId! >> 8, messageId! & 255, version === 5 ? 0 : [], codes))
              return false
            }
          }, { protocolVersion: version, reconnect: { min: 1, max: 1 } })
          const seen: string[] = []
          for (const pattern of ['a', 'b/<x>', 'c/#']) app.mqtt.topic(pattern, { qos: 1 }, ({ topic }) => { seen.push(topic) })
          await app.ready()
          await (await broker.connection(0)).until('subscribe')
          broker.connections[0]!.raw(Buffer.from([0]))
          await broker.connection(1)
          await live(app)
          await app.mqtt.subscribe('d')
          const gone = app.mqtt.unsubscribe('d')
          await broker.connections[1]!.until('unsubscribe')
          broker.connections[1]!.raw(Buffer.from([0]))
          await withinTime(gone, 'the end of unsubscribe')
          await broker.connection(2)
          await live(app)
          broker.last.deliver({ topic: 'a' }, { topic: 'b/1' }, { topic: 'c' })
          await waitFor(() => seen.length === 3, 'three messages')
          t.strictSame(app.mqtt.subscriptions.map(({ filter }) => filter), ['a', 'b/+', 'c/#'], `${first.toString(16)} with ${bytes(codes).subarray(0, 4).toString('hex')}`)
          await app.close()
        }
      }
    })

    t.test('P23: 1 500 mutated streams', t => besiege(t, { version, streams: 1_500, seed: Math.floor(Math.random() * 2 ** 31) }))
    t.end()
  })
}
