import type { Duplex } from 'node:stream'
import mqttPacket, { type Packet } from 'mqtt-packet'
import t from 'tap'
import { duplexPair } from '../../lib/embedded/duplex-pair.ts'
import { PacketType, type ProtocolVersion } from '../../lib/wire/packet.ts'
import { Tap, type ConnectInfo, type TapHandlers } from '../../lib/wire/tap.ts'
import { waitFor } from '../support/events.ts'

interface Opened {
  tap: Tap
  broker: Duplex
  /** What the handlers were told, in order. */
  seen: string[]
  /** What mqtt.js would read. */
  control: Buffer[]
  /** What the broker has read. */
  written: Buffer[]
  error: () => Error | undefined
  info: () => ConnectInfo | undefined
}

function open (version: ProtocolVersion = 5, over: Partial<TapHandlers> = {}, clean = false): Opened {
  const [socket, broker] = duplexPair()
  const seen: string[] = []
  const control: Buffer[] = []
  const written: Buffer[] = []
  let error: Error | undefined
  let info: ConnectInfo | undefined
  const tap = new Tap(socket, {
    version,
    clean,
    ephemeral: clean,
    maxPayload: 1_000,
    handlers: {
      onConnack: (_tap, own) => { info = own; seen.push('connack') },
      onRefused: (_tap, code) => { seen.push(`refused ${code}`) },
      onPublish: (_tap, { topic, qos, packetId }) => { seen.push(`publish ${topic} ${qos} ${packetId}`) },
      onOversize: (_tap, { publish: { topic, qos, packetId }, bytes }) => { seen.push(`oversize ${topic} ${qos} ${packetId} ${bytes}`) },
      onRelease: (_tap, id) => { seen.push(`release ${id}`) },
      onAck: (_tap, type, id, reasonCode) => { seen.push(`ack ${type} ${id} ${reasonCode}`) },
      onDrain: () => { seen.push('drain') },
      ...over
    }
  })
  tap.on('data', (chunk: Buffer) => { control.push(chunk) })
  tap.on('error', own => { error = own })
  broker.on('data', (chunk: Buffer) => { written.push(chunk) })
  broker.on('error', () => {})
  return { tap, broker, seen, control, written, error: () => error, info: () => info }
}

const bytes = (version: ProtocolVersion, ...packets: Packet[]): Buffer => Buffer.concat(packets.map(packet => mqttPacket.generate(packet, { protocolVersion: version })))
const turn = (): Promise<void> => new Promise(resolve => { setImmediate(resolve) })
const connack = (version: ProtocolVersion, properties?: object): Packet => ({ cmd: 'connack', sessionPresent: false, ...(version === 5 ? { reasonCode: 0 } : { returnCode: 0 }), ...(properties && { properties }) }) as Packet
const publish = (topic: string, qos: 0 | 1 | 2, messageId?: number, payload: string | Buffer = 'x'): Packet => ({ cmd: 'publish', topic, payload, qos, dup: false, retain: false, ...(messageId !== undefined && { messageId }) })

for (const version of [5, 4, 3] as const) {
  t.test(`version ${version}: PUBLISH and our acknowledgements are taken off, all else goes on whole and in order`, async t => {
    const { tap, broker, seen, control } = open(version)
    const ack = (cmd: 'puback' | 'pubrec' | 'pubcomp' | 'pubrel', messageId: number): Packet => ({ cmd, messageId })
    const others = [
      bytes(version, { cmd: 'suback', messageId: 1, granted: [1] }), bytes(version, { cmd: 'suback', messageId: 3, granted: [0] }),
      bytes(version, ack('puback', 0x7fff)), bytes(version, ack('pubrec', 5)), bytes(version, ack('pubcomp', 5)),
      bytes(version, version === 5 ? { cmd: 'unsuback', messageId: 2, granted: [0] } : { cmd: 'unsuback', messageId: 2 } as Packet)
    ]
    const first = bytes(version, connack(version))
    const stream = Buffer.concat([
      first, bytes(version, publish('a', 0)), others[0]!, bytes(version, publish('b', 1, 7)), others[1]!, bytes(version, ack('puback', 0x8000)), others[2]!,
      bytes(version, ack('pubrec', 0xffff)), others[3]!, others[4]!, bytes(version, ack('pubcomp', 0x9000), ack('pubrel', 3)), others[5]!
    ])
    for (const byte of stream) broker.write(Buffer.from([byte]))
    await waitFor(() => control.length === 7, 'the packets for mqtt.js')
    t.strictSame(seen, ['connack', 'publish a 0 0', 'publish b 1 7', `ack ${PacketType.PUBACK} 32768 0`, `ack ${PacketType.PUBREC} 65535 0`, `ack ${PacketType.PUBCOMP} 36864 0`, 'release 3'])
    t.strictSame(control.map(chunk => chunk.toString('hex')), [first, ...others].map(chunk => chunk.toString('hex')))
    tap.destroy()
  })
}

t.test('CONNACK: what the broker says, and what holds when it says nothing', async t => {
  const five = open(5)
  five.broker.write(bytes(5, connack(5, { receiveMaximum: 7, maximumPacketSize: 900, maximumQoS: 1, retainAvailable: false, subscriptionIdentifiersAvailable: false })))
  await turn()
  t.strictSame(five.info(), { version: 5, sessionPresent: false, receiveMaximum: 7, maximumPacketSize: 900, maximumQoS: 1, retainAvailable: false, subscriptionIdentifiers: false })
  const plain = open(5)
  plain.broker.write(bytes(5, { ...connack(5), sessionPresent: true } as Packet))
  await turn()
  t.strictSame(plain.info(), { version: 5, sessionPresent: true, receiveMaximum: 65_535, maximumPacketSize: Infinity, maximumQoS: 2, retainAvailable: true, subscriptionIdentifiers: true })
  const four = open(4)
  four.broker.write(bytes(4, connack(4)))
  await turn()
  t.match(four.info(), { version: 4, receiveMaximum: 65_535, subscriptionIdentifiers: false })
  for (const { tap } of [five, plain, four]) tap.destroy()
})

t.test('a CONNACK that breaks the specification ends the connection', async t => {
  const table: Record<string, number[]> = {
    'Receive Maximum 0': [0x20, 6, 0, 0, 3, 0x21, 0, 0],
    'Receive Maximum twice': [0x20, 9, 0, 0, 6, 0x21, 0, 5, 0x21, 0, 6],
    'Maximum Packet Size 0': [0x20, 8, 0, 0, 5, 0x27, 0, 0, 0, 0],
    'Maximum QoS 2': [0x20, 5, 0, 0, 2, 0x24, 2],
    'an unknown property': [0x20, 5, 0, 0, 2, 0x7f, 1],
    'too short': [0x20, 1, 0]
  }
  for (const [name, packet] of Object.entries(table)) {
    const { tap, broker, seen, error } = open(5)
    broker.write(Buffer.from(packet))
    await turn()
    t.ok(error(), name)
    t.strictSame(seen, [], name)
    tap.destroy()
  }
})

t.test('a CONNACK with a session that nobody asked for ends the connection', async t => {
  for (const version of [5, 4] as const) {
    for (const clean of [true, false]) {
      const { tap, broker, seen, control, error } = open(version, {}, clean)
      broker.write(bytes(version, { ...connack(version), sessionPresent: true } as Packet, publish('a', 0)))
      await turn()
      t.equal(tap.destroyed, clean)
      t.strictSame(seen, clean ? [] : ['connack', 'publish a 0 0'])
      t.equal(control.length, clean ? 0 : 1)
      if (clean) t.match(error(), { name: 'MalformedPacket', reasonCode: 0x82, message: /CONNACK with a session/ })
      tap.destroy()
    }
  }
})

t.test('a refusal: told with its code, and mqtt.js sees it', async t => {
  for (const [version, packet, code] of [[4, [0x20, 2, 0, 5], 5], [5, [0x20, 3, 0, 0x87, 0], 0x87], [5, [0x20, 2, 0, 1], 1]] as const) {
    const { tap, broker, seen, control } = open(version)
    broker.write(Buffer.from(packet))
    await turn()
    t.strictSame(seen, [`refused ${code}`])
    t.equal(control.length, 1)
    t.equal(tap.ready, false)
    tap.destroy()
  }
})

t.test('before CONNACK nothing else is taken, and nothing behind it is read', async t => {
  for (const packet of [publish('a', 1, 1), { cmd: 'puback', messageId: 0x8000 }, { cmd: 'suback', messageId: 1, granted: [0] }, { cmd: 'pingresp' }] as Packet[]) {
    const { broker, seen, tap, error, control } = open(4)
    broker.write(bytes(4, packet, connack(4), publish('b', 0)))
    await turn()
    t.strictSame(seen, [], packet.cmd)
    t.strictSame(control, [])
    t.equal(tap.destroyed, true)
    t.match(error(), { message: /before CONNACK/ })
  }
})

t.test('what no broker may send ends the connection, in the middle of a segment too', async t => {
  for (const packet of [[0x20, 2, 0, 0], [0x10, 0], [0x82, 2, 0, 1], [0xa2, 2, 0, 1], [0xc0, 0], [0x40, 2, 0, 0], [0x36, 0], [0x00, 0], [0x30, 0xff, 0xff, 0xff, 0xff]]) {
    const { broker, seen, tap, error } = open(4)
    broker.write(Buffer.concat([bytes(4, connack(4), publish('good', 0)), Buffer.from(packet), bytes(4, publish('bad', 0))]))
    await turn()
    broker.write(bytes(4, publish('worse', 0)))
    await turn()
    t.strictSame(seen, ['connack', 'publish good 0 0'], Buffer.from(packet).toString('hex'))
    t.ok(tap.destroyed)
    t.ok(error())
  }
})

t.test('a handler that throws ends the connection, and nothing behind it is read', async t => {
  const seen: string[] = []
  const { broker, tap, error } = open(4, { onPublish: (_tap, { topic }) => { seen.push(topic); throw new Error('on purpose') } })
  broker.write(bytes(4, connack(4), publish('a', 0), publish('b', 0)))
  await turn()
  t.strictSame(seen, ['a'])
  t.match(error(), { message: 'on purpose' })
  t.ok(tap.destroyed)
})

t.test('oversize, within what the framer lets through and beyond', async t => {
  for (const version of [5, 4] as const) {
    const { broker, seen, tap } = open(version)
    broker.write(bytes(version, connack(version), publish('a', 1, 3, Buffer.alloc(1_001)), publish('b', 2, 4, Buffer.alloc(300_000)), publish('c', 0, undefined, Buffer.alloc(1_000))))
    await waitFor(() => seen.length === 4, 'the three')
    t.match(seen.slice(1), ['oversize a 1 3 1001', /^oversize b 2 4 30000[01]$/, 'publish c 0 0'])
    tap.destroy()
  }
})

t.test('ours go out only after CONNACK, and whole between those of mqtt.js', async t => {
  const { tap, broker, written } = open(5)
  t.equal(tap.ready, false)
  tap.write(bytes(5, { cmd: 'pingreq' }))
  broker.write(bytes(5, connack(5)))
  await turn()
  t.equal(tap.ready, true)
  const theirs = Array.from({ length: 50 }, (_, i) => bytes(5, publish('their', 1, i + 1, Buffer.alloc(500, 't'))))
  const ours = Array.from({ length: 50 }, (_, i) => bytes(5, publish('ours', 1, i + 0x8000, Buffer.alloc(700, 'o'))))
  const pending: Array<Promise<void>> = []
  for (let i = 0; i < 50; i++) {
    // As mqtt-packet writes: in pieces, corked until the end of the tick.
    tap.cork()
    for (let at = 0; at < theirs[i]!.length; at += 37) tap.write(theirs[i]!.subarray(at, at + 37))
    process.nextTick(() => tap.uncork())
    pending.push(new Promise(resolve => { tap.send([ours[i]!.subarray(0)], resolve) }))
    if (i % 7 === 0) await turn()
  }
  await Promise.all(pending)
  await waitFor(() => Buffer.concat(written).length === 2 + Buffer.concat([...theirs, ...ours]).length, 'all bytes')
  const packets: Packet[] = []
  const errors: Error[] = []
  const parser = mqttPacket.parser({ protocolVersion: 5 })
  parser.on('packet', packet => packets.push(packet)).on('error', error => errors.push(error))
  parser.parse(Buffer.concat(written))
  t.strictSame(errors, [])
  const topics = packets.map(packet => packet.cmd === 'publish' ? packet.topic : packet.cmd)
  t.equal(topics.filter(topic => topic === 'their').length, 50)
  t.equal(topics.filter(topic => topic === 'ours').length, 50)
  tap.destroy()
})

t.test('held: nothing is read, a ping of mqtt.js is answered and sent, and no other byte makes an answer', async t => {
  const { tap, broker, seen, control, written } = open(5)
  broker.write(bytes(5, connack(5)))
  await turn()
  tap.hold()
  tap.hold()
  broker.write(bytes(5, publish('a', 0)))
  await turn()
  t.strictSame(seen, ['connack'])
  tap.write(Buffer.from([0xc0, 0]))
  await turn()
  t.strictSame(control.slice(1).map(chunk => chunk.toString('hex')), ['d000'])
  t.equal(written.at(-1)!.toString('hex'), 'c000', 'the broker counts it too')
  tap.write(Buffer.from([0xc0, 0x04, 0x61]))
  await turn()
  t.equal(control.length, 2, 'a piece of something else that begins alike')
  tap.cork()
  tap.write(Buffer.from([0x82, 0]))
  tap.write(Buffer.from([0xc0, 0]))
  tap.uncork()
  await turn()
  t.equal(control.length, 3)
  tap.unhold()
  tap.unhold()
  await turn()
  t.strictSame(seen, ['connack', 'publish a 0 0'])
  tap.destroy()
})

t.test('a ping of mqtt.js is answered by the first byte behind it, once', async t => {
  const { tap, broker, seen, control, error } = open(5)
  broker.write(bytes(5, connack(5)))
  await turn()
  const answers = (): string[] => control.slice(1).map(chunk => chunk.toString('hex'))
  tap.write(Buffer.from([0xc0, 0]))
  await turn()
  t.strictSame(answers(), [], 'nothing has come')
  const message = bytes(5, publish('a', 0))
  broker.write(message.subarray(0, 1))
  await turn()
  t.strictSame(answers(), ['d000'], 'by the beginning of a message')
  broker.write(message.subarray(1))
  broker.write(bytes(5, { cmd: 'pingresp' }))
  await turn()
  t.strictSame(seen, ['connack', 'publish a 0 0'])
  t.strictSame(answers(), ['d000'], 'what comes late is no second answer')
  tap.write(Buffer.from([0xc0, 0]))
  broker.write(bytes(5, { cmd: 'pingresp' }))
  await turn()
  t.strictSame(answers(), ['d000', 'd000'])
  broker.write(Buffer.from([0xd0, 1, 0]))
  await turn()
  t.match(error(), { message: /wrong length/ })
})

t.test('drain is told when it was waited for', async t => {
  const { tap, broker, seen } = open(5)
  broker.write(bytes(5, connack(5)))
  await turn()
  broker.pause()
  tap.send([Buffer.alloc(400_000)])
  t.equal(tap.ready, false)
  broker.resume()
  await waitFor(() => seen.includes('drain'), 'drain')
  t.equal(tap.ready, true)
  tap.destroy()
})

t.test('drain is told too when it was mqtt.js that filled the socket', async t => {
  const { tap, broker, seen } = open(5)
  broker.write(bytes(5, connack(5)))
  await turn()
  broker.pause()
  tap.write(Buffer.alloc(400_000))
  t.equal(tap.ready, false)
  broker.resume()
  await waitFor(() => tap.ready, 'room')
  await turn()
  t.ok(seen.includes('drain'))
  tap.destroy()
})

t.test('the end of the socket is the end of the tap, and the other way round; send calls back all the same', async t => {
  const ends: Array<(opened: Opened) => void> = [
    ({ broker }) => { broker.end() }, ({ broker }) => { broker.destroy() }, ({ tap }) => { tap.destroy() },
    ({ tap }) => { tap.socket.destroy(new Error('reset')) }, ({ tap }) => { tap.end() }
  ]
  for (const end of ends) {
    const opened = open(4)
    opened.broker.write(bytes(4, connack(4)))
    await turn()
    let closed = false
    opened.tap.on('close', () => { closed = true })
    end(opened)
    await waitFor(() => closed, 'close')
    t.equal(opened.tap.ready, false)
    t.ok(opened.tap.socket.destroyed)
    let called = false
    opened.tap.send([Buffer.from([0xc0, 0])], () => { called = true })
    opened.tap.send([Buffer.from([0xc0, 0])])
    opened.tap.hold()
    opened.tap.unhold()
    opened.tap.disconnect()
    await waitFor(() => called, 'the callback')
  }
})

t.test('disconnect: behind all that was written, and what still comes is thrown away', async t => {
  const { tap, broker, seen, written } = open(5)
  broker.write(bytes(5, connack(5)))
  await turn()
  tap.hold()
  tap.send([bytes(5, publish('a', 1, 0x8000))])
  tap.disconnect()
  broker.write(bytes(5, publish('late', 0)))
  await waitFor(() => tap.destroyed, 'the end')
  t.ok(Buffer.concat(written).toString('hex').endsWith('e000'))
  t.strictSame(seen, ['connack'])
})

t.test('disconnect: a broker that does not end the connection is not waited for without end', async t => {
  const { tap, broker, error } = open(5)
  broker.write(bytes(5, connack(5)))
  await turn()
  broker.pause()
  tap.disconnect(new Error('on purpose'))
  tap.disconnect(new Error('once more'))
  await turn()
  t.equal(tap.destroyed, false)
  // Some seconds: the wait is what is tested.
  await waitFor(() => tap.destroyed, 'the end')
  t.equal(tap.hungUp, false)
  t.match(error(), { message: 'on purpose' })
})
