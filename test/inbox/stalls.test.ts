import t, { type Test } from 'tap'
import type { MqttPluginOptions } from '../../lib/index.ts'
import { Gates } from '../faults/gates.ts'
import { liveApp, outcome, type Scripted } from '../faults/scripted-app.ts'
import { waitFor } from '../support/events.ts'

/*
 * A session that ends with its connection brings nothing again: over its limits the inbox leaves messages in the socket, although the answer
 * to a publish of our own is behind them. Only while nothing leaves the inbox they are thrown away (docs/internals.md).
 */

interface Flooded extends Scripted {
  readonly gates: Gates
  /** Delivers numbered messages, far more than the inbox takes; the gate `name` holds the handlers until it is over its limits. */
  readonly flood: (name: string, from: number) => Promise<void>
}

const MANY = 3_000

async function flooded (t: Test, options: MqttPluginOptions): Promise<Flooded> {
  const gates = new Gates()
  const scripted = await liveApp(t, { onPublish: () => false }, { ...options, inbox: { maxMessages: 10 }, concurrency: 1 }, app => {
    app.mqtt.topic('<gate>/<int:n>', { qos: 1 }, ({ params }) => gates.wait(params.gate))
  })
  const { app, broker } = scripted
  void outcome(app.mqtt.publish('own', '', { qos: 1 }))
  await broker.last.until('publish')
  const flood = async (name: string, from: number): Promise<void> => {
    broker.last.deliver(...Array.from({ length: MANY }, (_, i) => ({ topic: `${name}/${from + i}`, qos: 1 as const, messageId: from + i })))
    await waitFor(() => app.mqtt.status().inbox.messages > 1_000, 'more than the limit')
  }
  return { ...scripted, gates, flood }
}

/** All of so many were handled, on one connection. */
async function handled (t: Test, { app, broker }: Flooded, count: number): Promise<void> {
  await waitFor(() => app.mqtt.status().counters.handled === count || broker.connections.length > 1, `${count} handlers`)
  t.equal(app.mqtt.status().counters.handled, count)
  t.equal(broker.connections.length, 1)
}

for (const protocolVersion of [5, 4] as const) {
  t.test(`MQTT ${protocolVersion}: a stall that is over and cost nothing is not remembered against the next flood`, async t => {
    const stage = await flooded(t, { protocolVersion })
    const { app, broker, gates, flood } = stage
    await flood('first', 1)
    // At QoS 0 there is nothing to wait for: it is thrown away as soon as it is read, which is when patience has ended.
    broker.last.deliver({ topic: 'second/0' })
    await waitFor(() => app.mqtt.status().counters.dropped === 1, 'the end of patience')
    gates.open('first')
    await handled(t, stage, MANY)
    await flood('second', MANY + 1)
    gates.open('second')
    await handled(t, stage, 2 * MANY)
  })
}

const sessions: Array<[name: string, options: MqttPluginOptions]> = [
  ['a clean one', {}],
  // MQTT 5 section 3.1.2.11.2: it is there at CONNECT, if a longer one was left, and ends with the connection.
  ['clean: false, expiry: 0', { clientId: 'brief', session: { clean: false, expiry: 0 } }]
]
for (const [name, options] of sessions) {
  t.test(`a session that ends with its connection: ${name}: no message is thrown away`, async t => {
    const stage = await flooded(t, options)
    await stage.flood('all', 1)
    stage.gates.open('all')
    await handled(t, stage, MANY)
  })
}
