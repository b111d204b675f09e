import t, { type Test } from 'tap'
import { liveApp, outcome, type Outcome } from '../faults/scripted-app.ts'
import type { Script } from '../faults/scripted-broker.ts'
import { nameOf, VERSIONS, type Version } from '../faults/fixtures/storms.ts'
import { withinTime } from '../support/events.ts'

/*
 * A broker that takes its time before it hangs up over a packet: the others do not wait so long (`Suspects`), so it is never the only one
 * without an answer. It is found all the same, and none of the others is taken for it.
 */

t.setTimeout(300_000)

/** Milliseconds, more than the others wait. */
const LATE = 6_000
const HANG_UPS = 10
/** Of how many all are found, and then some. */
const LIMIT = { within: 1.5 * HANG_UPS * LATE }

/** Publishes all the time until the one that is looked for is found, and gives how each of the others ended. */
async function meanwhile<T> (app: Awaited<ReturnType<typeof liveApp>>['app'], found: Promise<T>): Promise<{ error: T, others: Outcome[] }> {
  const others: Array<Promise<Outcome>> = []
  const timer = setInterval(() => { others.push(outcome(app.mqtt.publish('n', 'good', { qos: 1 }))) }, 500)
  try {
    return { error: await withinTime(found, 'the one that is found', LIMIT), others: await Promise.all(others) }
  } finally {
    clearInterval(timer)
  }
}

const late: Record<string, Script> = {
  PUBLISH: {
    onPublish: ({ payload }, connection) => {
      if (String(payload) !== 'bad') return undefined
      setTimeout(() => connection.drop(), LATE)
      return false
    }
  },
  SUBSCRIBE: {
    onSubscribe: ({ subscriptions }, connection) => {
      if (subscriptions[0]!.topic !== 'bad') return undefined
      setTimeout(() => connection.drop(), LATE)
      return false
    }
  }
}

async function find (t: Test, version: Version, what: 'PUBLISH' | 'SUBSCRIBE'): Promise<void> {
  const { app, broker } = await liveApp(t, { onConnect: (_packet, { index }) => ({ sessionPresent: index > 0 }), ...late[what] }, {
    protocolVersion: version, clientId: 'kept', session: { clean: false, expiry: 300 }, publishTimeout: 0, reconnect: { min: 1, max: 1_000 }
  }, app => { for (let i = 0; i < 5; i++) app.mqtt.topic(`good/${i}`, () => {}) })
  const bad = what === 'PUBLISH' ? app.mqtt.publish('n', 'bad', { qos: 1 }) : app.mqtt.topic('bad', () => {}).subscribed
  const { error, others } = await meanwhile(app, bad.then(() => ({ code: 'ok' }), (error: unknown) => error))
  const title = `${nameOf(version)}, ${what}`
  t.match(error, { code: what === 'PUBLISH' ? 'FST_MQTT_POISON' : 'FST_MQTT_SUBSCRIBE_REFUSED' }, title)
  t.ok(others.length > 0 && others.every(({ code }) => code === 'ok'), `${title}: none of the others`)
  t.strictSame(app.mqtt.subscriptions.filter(({ filter, status }) => filter !== 'bad' && status === 'refused'), [])
  t.comment(`${title}: ${broker.connections.filter(({ closed }) => closed).length} hang-ups, ${others.length} others`)
}

t.test(`a broker that hangs up after ${LATE} ms`, async t => {
  // Side by side: nearly all of it is waiting.
  await Promise.all(VERSIONS.flatMap(version => (['PUBLISH', 'SUBSCRIBE'] as const).map(what => find(t, version, what))))
})
