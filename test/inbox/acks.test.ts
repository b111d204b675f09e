import t from 'tap'
import { Acks, type InboxLink } from '../../lib/inbox/acks.ts'
import type { ProtocolVersion } from '../../lib/wire/packet.ts'
import { liveApp } from '../faults/scripted-app.ts'
import type { ScriptedConnection } from '../faults/scripted-broker.ts'
import { waitFor } from '../support/events.ts'
import { Gates } from '../faults/gates.ts'

const turn = (): Promise<void> => new Promise(resolve => { setImmediate(resolve) })
const durable = { session: { clean: false, expiry: 60 }, clientId: 'durable' }

class Link implements InboxLink {
  readonly version: ProtocolVersion
  readonly ephemeral = false
  destroyed = false
  readonly writes: string[] = []

  constructor (version: ProtocolVersion) {
    this.version = version
  }

  send (packets: readonly Buffer[]): void { this.writes.push(Buffer.concat(packets).toString('hex')) }
  hold (): void {}
  unhold (): void {}
  disconnect (): void { this.destroyed = true }
  destroy (): void { this.destroyed = true }
}

t.test('acknowledgements due in one turn leave in one write, in order of receipt', async t => {
  const link = new Link(5)
  const acks = new Acks(link, 'received')
  const receipts = [acks.expect(1, 1), acks.expect(2, 2), acks.expect(1, 3), acks.expect(1, 4)]
  acks.handled(receipts[2]!, 0)
  acks.handled(receipts[1]!, 0x83)
  await turn()
  t.strictSame(link.writes, [], 'the first holds them back')
  acks.handled(receipts[0]!, 0)
  acks.handled(receipts[0]!, 0x80)
  await turn()
  t.strictSame(link.writes, ['40020001' + '5003000283' + '40020003'])
  acks.handled(receipts[3]!, 0)
  await turn()
  t.strictSame(link.writes.slice(1), ['40020004'])
})

t.test("'handled': as they come", async t => {
  const link = new Link(4)
  const acks = new Acks(link, 'handled')
  const [one, two, three] = [acks.expect(1, 1), acks.expect(2, 2), acks.expect(1, 3)]
  acks.handled(three, 0)
  acks.handled(two, 0x83)
  await turn()
  acks.handled(one, 0)
  await turn()
  t.strictSame(link.writes, ['4002000350020002', '40020001'], '3.1.1 has no reason codes')
})

t.test('nothing is written to a connection that is gone', async t => {
  const link = new Link(4)
  const acks = new Acks(link, 'received')
  const receipt = acks.expect(1, 1)
  acks.handled(receipt, 0)
  link.destroyed = true
  acks.complete(7, 0)
  await turn()
  t.strictSame(link.writes, [])
})

/** The ids acknowledged on a connection, in order. */
function acknowledged (connection: ScriptedConnection): number[] {
  return connection.received.filter(({ cmd }) => cmd === 'puback' || cmd === 'pubrec').map(({ messageId }) => messageId!)
}

for (const version of [5, 4] as const) {
  t.test(`MQTT ${version}: nothing is acknowledged before its handler has settled, and then in order of receipt`, async t => {
    const gates = new Gates()
    const { app, broker } = await liveApp(t, {}, { protocolVersion: version }, app => {
      app.mqtt.topic('h/<name>', { qos: 2 }, message => gates.wait(message.params.name))
    })
    broker.last.deliver({ topic: 'h/a', qos: 1, messageId: 11 }, { topic: 'h/b', qos: 2, messageId: 12 }, { topic: 'h/c', qos: 1, messageId: 13 })
    await gates.entered('a', 'b', 'c')
    t.strictSame(acknowledged(broker.last), [])
    gates.open('b')
    gates.open('c')
    await turn()
    await turn()
    // What the application writes after this has not overtaken an acknowledgement.
    await app.mqtt.publish('probe', '', { qos: 1 })
    t.strictSame(acknowledged(broker.last), [])
    gates.open('a')
    await waitFor(() => acknowledged(broker.last).length === 3, 'the acknowledgements')
    t.strictSame(acknowledged(broker.last), [11, 12, 13])
    await broker.last.until('pubcomp')
    t.equal(broker.connections.length, 1)
  })

  t.test(`MQTT ${version}: ackOrder 'handled'`, async t => {
    const gates = new Gates()
    const { broker } = await liveApp(t, {}, { protocolVersion: version, ackOrder: 'handled' }, app => {
      app.mqtt.topic('h/<name>', { qos: 2 }, message => gates.wait(message.params.name))
    })
    broker.last.deliver({ topic: 'h/a', qos: 1, messageId: 11 }, { topic: 'h/b', qos: 2, messageId: 12 }, { topic: 'h/c', qos: 1, messageId: 13 })
    await gates.entered('a', 'b', 'c')
    for (const name of ['c', 'b', 'a']) {
      gates.open(name)
      const count = acknowledged(broker.last).length
      await waitFor(() => acknowledged(broker.last).length > count, `the acknowledgement of ${name}`)
    }
    t.strictSame(acknowledged(broker.last), [13, 12, 11])
  })

  t.test(`MQTT ${version}: a message with several handlers waits for all of them; one that fails is acknowledged too`, async t => {
    const gates = new Gates()
    const { broker, logger } = await liveApp(t, {}, { protocolVersion: version }, app => {
      app.mqtt.topic('h/<name>', { qos: 1 }, () => gates.wait('one'))
      app.mqtt.topic('h/#', { qos: 1 }, () => gates.wait('two'))
    })
    broker.last.deliver({ topic: 'h/a', qos: 1, messageId: 11 })
    await gates.entered('one', 'two')
    gates.fail('one', new Error('on purpose'))
    await turn()
    await turn()
    t.strictSame(acknowledged(broker.last), [])
    gates.open('two')
    const [puback] = await broker.last.until('puback')
    t.equal(puback!.reasonCode ?? 0, version === 5 ? 0x83 : 0)
    t.match(logger.text(), /on purpose/)
  })

  t.test(`MQTT ${version}: acknowledgements never cross connections`, async t => {
    const gates = new Gates()
    const { app, broker } = await liveApp(t, { onConnect: (_packet, { index }) => ({ sessionPresent: index > 0 }) }, { protocolVersion: version, ...durable }, app => {
      app.mqtt.topic('h/<name>', { qos: 2 }, message => gates.wait(message.params.name))
    })
    broker.last.deliver({ topic: 'h/a', qos: 1, messageId: 11 }, { topic: 'h/b', qos: 1, messageId: 12 })
    await gates.entered('a', 'b')
    broker.last.drop()
    const second = await broker.connection(1)
    await waitFor(() => app.mqtt.connected, 'the reconnect')
    // The id is another message's now.
    second.deliver({ topic: 'h/c', qos: 1, messageId: 11 })
    await gates.entered('c')
    gates.open('a')
    gates.open('b')
    await turn()
    await app.mqtt.publish('probe', '', { qos: 1 })
    t.strictSame(acknowledged(second), [])
    gates.open('c')
    await second.until('puback')
    t.strictSame(acknowledged(second), [11])
  })

  t.test(`MQTT ${version}: ack 'received'`, async t => {
    const gates = new Gates()
    const { broker } = await liveApp(t, { onConnect: (_packet, { index }) => ({ sessionPresent: index > 0 }) }, { protocolVersion: version, ...durable }, app => {
      app.mqtt.topic('h/<name>', { qos: 2, ack: 'received' }, message => gates.wait(message.params.name))
    })
    broker.last.deliver({ topic: 'h/a', qos: 1, messageId: 11 }, { topic: 'h/b', qos: 2, messageId: 12 })
    await waitFor(() => acknowledged(broker.last).length === 2, 'the acknowledgements')
    await broker.last.until('pubcomp')
    await gates.entered('a', 'b')
    t.strictSame([gates.count('a'), gates.count('b')], [1, 1])
    gates.open('a')
    gates.open('b')
    await turn()
    t.strictSame(acknowledged(broker.last), [11, 12])
  })
}
