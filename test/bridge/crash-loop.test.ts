import { fork } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import t, { type Test } from 'tap'
import type { MqttPluginOptions } from '../../lib/index.ts'
import { startScriptedBroker } from '../faults/scripted-broker.ts'
import { nextEvent } from '../support/events.ts'
import { mosquittoMissing, startMosquitto } from '../support/mosquitto.ts'
import { PLAIN_NODE } from '../support/project.ts'
import type { Inventory, LoopMessage, LoopOrders, LoopReport } from './fixtures/crash-loop.ts'

/* P15 over and over: workers that die are all that the application sees, and nothing of them stays. */

t.setTimeout(600_000)

/** The way does not depend on the version, so one of them gets the full count. */
const WORKERS = { 5: 100, 4: 14 } as const
/** What mosquitto has queued beyond its limit it acknowledges and drops. */
const UNLIMITED = { config: ['max_queued_messages 0'] }
const LOOP = fileURLToPath(new URL('./fixtures/crash-loop.js', import.meta.url))

/** What the test does while the application waits. */
interface Stages {
  /** Before the loop. */
  warm?: () => Promise<void>
  /** All workers of the loop are dead. */
  looped?: () => Promise<void>
}

async function runLoop (t: Test, options: MqttPluginOptions & { protocolVersion: 4 | 5 }, echoes: boolean, stages: Stages = {}): Promise<LoopReport> {
  const orders: LoopOrders = {
    options: { reconnect: { min: 10, max: 100 }, publishTimeout: 0, ...options }, workers: WORKERS[options.protocolVersion], echoes
  }
  const child = fork(LOOP, [JSON.stringify(orders)], { execPath: PLAIN_NODE.program, execArgv: [...PLAIN_NODE.args, '--no-warnings'] })
  t.after(() => { child.kill('SIGKILL') })
  for (;;) {
    const [message] = await nextEvent(child, 'message', { within: 240_000 }) as [LoopMessage]
    if (message.type === 'report') {
      child.send('end')
      return message.report
    }
    await stages[message.type]?.()
    child.send('go on')
  }
}

function check (t: Test, what: string, workers: number, report: LoopReport, received: Readonly<Record<string, number>>): void {
  const handedOver = Object.entries(report.handedOver).flatMap(([topic, count]) => Array.from({ length: count }, (_, n) => `${topic}/${n}`))
  const lost = handedOver.filter(topic => received[topic] === undefined)
  const twice = Object.values(received).filter(count => count > 1).length
  const heap = report.heap / 1e6
  const buffers = report.buffers / 1e6
  t.comment(`${what}: ${JSON.stringify(report.deaths)}; ${handedOver.length} handed over, ${Object.keys(received).length} arrived, ${twice} twice, ${lost.length} lost; left ${JSON.stringify(report.after)}, heap ${heap.toFixed(2)} MB, buffers ${buffers.toFixed(2)} MB`)
  t.equal(Object.keys(report.handedOver).length, workers)
  t.strictSame(lost, [], 'all that was handed over')
  t.strictSame(report.status, { workers: 0, messages: 0, bytes: 0, inflight: 0 }, 'not a message is left')
  for (const [name, count] of Object.entries(report.after)) {
    const before = report.before[name as keyof Inventory]
    t.ok(count <= before, `${count} ${name}, ${before} before`)
  }
  t.ok(heap < 5, `the heap has grown by ${heap.toFixed(2)} MB`)
  t.ok(buffers < 1, `buffers have grown by ${buffers.toFixed(2)} MB`)
}

for (const protocolVersion of [5, 4] as const) {
  const workers = WORKERS[protocolVersion]
  const version = protocolVersion === 5 ? 'MQTT 5' : 'MQTT 3.1.1'
  t.test(`the broker up: ${version}`, { skip: mosquittoMissing() }, async t => {
    const { url } = await startMosquitto(t, UNLIMITED)
    const report = await runLoop(t, { url, protocolVersion }, true)
    check(t, `up, ${version}`, workers, report, report.received)
  })

  t.test(`the broker down, and up later: ${version}`, { skip: mosquittoMissing() }, async t => {
    const broker = await startMosquitto(t, UNLIMITED)
    const report = await runLoop(t, { url: broker.url, protocolVersion }, true, {
      warm: async () => { await broker.kill() },
      looped: async () => { await broker.start() }
    })
    check(t, `down, ${version}`, workers, report, report.received)
  })

  t.test(`a slow broker: ${version}`, async t => {
    const received: Record<string, number> = {}
    const broker = await startScriptedBroker(t, {
      onPublish: ({ topic, messageId }, connection) => {
        received[topic] = (received[topic] ?? 0) + 1
        // Being slow is the fault: most workers are gone when their answers come.
        setTimeout(() => { connection.send({ cmd: 'puback', messageId: messageId! }) }, 100)
        return false
      }
    })
    const report = await runLoop(t, { url: broker.url, protocolVersion, outbox: { inflight: 50 } }, false)
    check(t, `slow, ${version}`, workers, report, Object.fromEntries(Object.entries(received).filter(([topic]) => topic.startsWith('crash/loop/'))))
  })
}
