import t, { type Test } from 'tap'
import type { MqttError, MqttPluginOptions } from '../../lib/index.ts'
import { resultOf, spawn } from '../bridge/threads.ts'
import type { Told } from '../bridge/fixtures/tasks.ts'
import { buildApp, live } from '../support/app.ts'
import { connectClient, type Peer } from '../support/client.ts'
import { waitFor, withinTime } from '../support/events.ts'
import { DYNSEC_ADMIN, startMosquitto, type Mosquitto } from '../support/mosquitto.ts'
import { nameOf, skip, VERSIONS } from './fixtures/storms.ts'
import { liveApp, outcome, type Outcome } from './scripted-app.ts'

/*
 * P21: what a broker refuses is seen: each publish on MQTT 5, each subscription on both versions. MQTT 3.1.1 has no way to
 * say that a publish was denied. What is permitted goes on beside it, and what is permitted later comes by itself.
 */

t.setTimeout(120_000)

/** Without a limit mosquitto 2.0 ends the connection behind each publish that it denies. */
const LIMIT = ['max_queued_messages 10000']
const COUNT = 300
/** mosquitto denies by topic: here every third. */
const DENIED = Array.from({ length: COUNT }, (_, n) => n).filter(n => n % 3 === 0)

const DENIALS = ['denied/#', 'denied2/#', 'denied3']

function acl (...topics: string[]): string {
  return ['topic readwrite #', ...topics.flatMap(topic => DENIED.map(n => `topic deny ${topic}/${n}`))].join('\n') + '\n'
}

for (const version of VERSIONS) {
  for (const qos of [1, 2] as const) {
    t.test(`P21: ${nameOf(version)}: publishes of QoS ${qos}, some denied, from the main thread and from a worker`, { skip }, async t => {
      const broker = await startMosquitto(t, { acl: acl('main', 'work'), config: LIMIT })
      const peer = await connectClient(t, broker.url)
      const seen = await peer.messages('#', { qos: 2 })
      const { app } = await buildApp(t, { url: broker.url, protocolVersion: version })
      await app.ready()
      await live(app)
      const worker = resultOf<Array<Told & { reasonCode?: number }>>(spawn('awaited', { topic: 'work', count: COUNT, qos }))
      const main = await Promise.all(Array.from({ length: COUNT }, (_, n) => outcome(app.mqtt.publish(`main/${n}`, '', { qos }))))
      const work = await worker
      await seen.first(2 * (COUNT - DENIED.length))
      // Behind all that came before it.
      await app.mqtt.publish('last', '', { qos })
      await waitFor(() => seen.all.some(({ topic }) => topic === 'last'), 'the last message')

      const arrived = (topic: string): number[] => seen.all.filter(message => message.topic.startsWith(`${topic}/`)).map(message => Number(message.topic.split('/')[1]))
      for (const topic of ['main', 'work']) {
        t.strictSame(arrived(topic), Array.from({ length: COUNT }, (_, n) => n).filter(n => n % 3 !== 0), `${topic}: what is permitted arrived, once, in order`)
      }
      const refused = (results: Array<{ code?: string }>): number[] => results.flatMap(({ code }, n) => code === 'FST_MQTT_PUBLISH_REFUSED' ? [n] : [])
      const expected = version === 5 ? DENIED : []
      t.strictSame(refused(main), expected, 'main: each denied one was refused, no other')
      t.strictSame(refused(work), expected, 'worker: each denied one was refused, no other')
      t.ok(main.every(({ code, reasonCode }, n) => expected.includes(n) ? reasonCode === 0x87 : code === 'ok'), 'with its reason code')
      t.ok(expected.every(n => /0x87 Not authorized/.test(work[n]!.message)), 'with its standard name')
      const error = await app.mqtt.publish(`main/${DENIED[0]}`, '', { qos }).then(() => undefined, (error: MqttError) => error)
      if (version === 5) t.match(error, { code: 'FST_MQTT_PUBLISH_REFUSED', reasonCode: 0x87, message: /0x87 Not authorized/ })
      else t.equal(error, undefined, 'it has no way to tell')
      t.match(app.mqtt.status().counters, { refused: version === 5 ? 2 * DENIED.length + 1 : 0, reconnects: 0 })
      t.comment(`${nameOf(version)}, QoS ${qos}: ${JSON.stringify({ published: 2 * COUNT, denied: 2 * DENIED.length, refused: refused(main).length + refused(work).length, arrived: seen.all.length - 1 })}`)
    })
  }

  t.test(`P21: ${nameOf(version)}: permissions to publish change at run time`, { skip: skip || (version === 4 && '3.1.1 has no way to tell') }, async t => {
    const broker = await startMosquitto(t, { acl: 'topic readwrite #\ntopic deny a\n', config: LIMIT })
    const { app } = await buildApp(t, { url: broker.url, protocolVersion: version })
    await app.ready()
    await live(app)
    const both = async (): Promise<string[]> => {
      const ends: Outcome[] = []
      for (const [topic, qos] of [['a', 1], ['a', 2], ['b', 1], ['b', 2]] as const) ends.push(await outcome(app.mqtt.publish(topic, '', { qos })))
      return ends.map(({ code }) => code)
    }
    const denied = 'FST_MQTT_PUBLISH_REFUSED'
    t.strictSame(await both(), [denied, denied, 'ok', 'ok'])
    for (const [text, expected] of [
      ['topic readwrite #\ntopic deny b\n', ['ok', 'ok', denied, denied]],
      ['topic readwrite #\n', ['ok', 'ok', 'ok', 'ok']],
      ['topic readwrite #\ntopic deny a\ntopic deny b\n', [denied, denied, denied, denied]]
    ] as const) {
      broker.setAcl(text)
      // The broker reads it when it gets round to it.
      await waitFor(async () => (await both()).join() === expected.join(), expected.join())
    }
    t.equal(app.mqtt.status().counters.reconnects, 0)
  })

  t.test(`P21, P13: ${nameOf(version)}: subscriptions denied by mosquitto are told, and come when they are permitted`, { skip }, async t => {
    const { broker, control } = await withRoles(t)
    const options: MqttPluginOptions = { url: broker.url, protocolVersion: version, username: 'app', password: 'app', reconnect: { min: 10, max: 100 } }
    const { app, logger } = await buildApp(t, options)
    const got = new Set<string>()
    const routes = ['ok/<int:n>', 'denied/<int:n>', 'ok2/#', 'denied2/+'].map(pattern => app.mqtt.topic(pattern, { qos: 1 }, ({ topic }) => { got.add(topic) }))
    app.mqtt.setNotFoundHandler(({ topic }) => { got.add(topic) })
    const answers = Promise.allSettled(routes.map(({ subscribed }) => subscribed))
    const asked = Promise.allSettled([app.mqtt.subscribe('ok3', { qos: 1 }), app.mqtt.subscribe('denied3', { qos: 1 })])
    await app.ready()
    const refusal = { status: 'rejected', reason: { code: 'FST_MQTT_SUBSCRIBE_REFUSED', reasonCode: version === 5 ? 0x87 : 0x80 } }
    t.match(await withinTime(answers, 'the answers to the routes'), [{ status: 'fulfilled' }, refusal, { status: 'fulfilled' }, refusal])
    t.match(await withinTime(asked, 'the answers to subscribe()'), [{ status: 'fulfilled' }, refusal])
    const ok = ['ok/+', 'ok2/#', 'ok3']
    const denied = ['denied/+', 'denied2/+', 'denied3']
    const statusOf = (filters: string[]): string[] => filters.map(filter => app.mqtt.subscriptions.find(subscription => subscription.filter === filter)!.status)
    await waitFor(() => statusOf(ok).every(status => status === 'active'), 'the permitted ones')
    const refusedNow = (): boolean => denied.every(filter => {
      const { status, error } = app.mqtt.subscriptions.find(subscription => subscription.filter === filter)!
      return status === 'refused' && error?.code === 'FST_MQTT_SUBSCRIBE_REFUSED'
    })
    await waitFor(refusedNow, 'the refusals in the status')
    const told = (): number => logger.lines.filter(({ level, line }) => level === 'error' && line.includes('subscription refused')).length
    for (const filter of denied) t.match(logger.text(), new RegExp(`error .*${filter.replace('+', '\\+')}`), `${filter}: told in the log`)

    const peer = await connectClient(t, broker.url, { ...DYNSEC_ADMIN })
    /** What each filter brings now. */
    const flow = async (): Promise<string[]> => {
      got.clear()
      const topics = ['ok/1', 'denied/1', 'ok2/x/y', 'denied2/x', 'ok3', 'denied3']
      for (const topic of topics) await peer.client.publishAsync(topic, '', { qos: 1 })
      // Behind all of these, as far as they come at all.
      await peer.client.publishAsync('ok2/end', '', { qos: 1 })
      await waitFor(() => got.delete('ok2/end'), 'the last message')
      return [...got].sort()
    }
    t.strictSame(await flow(), ['ok/1', 'ok2/x/y', 'ok3'], 'neighbours have theirs')

    for (let round = 0; round < 2; round++) {
      await control(DENIALS.map(topic => ({ command: 'removeRoleACL', rolename: 'app', acltype: 'subscribePattern', topic })))
      await waitFor(() => statusOf([...ok, ...denied]).every(status => status === 'active'), 'all to be granted')
      await live(app)
      t.strictSame(await flow(), ['denied/1', 'denied2/x', 'denied3', 'ok/1', 'ok2/x/y', 'ok3'], 'all have theirs')
      const before = told()
      await control(deny())
      // What it has granted, mosquitto asks no more about; a connection later it does.
      await control([{ command: 'disableClient', username: 'app' }])
      await waitFor(() => app.mqtt.state === 'refused', 'the refused connection')
      t.match(app.mqtt.status().lastError, { code: 'FST_MQTT_CONNECT_REFUSED' })
      await control([{ command: 'enableClient', username: 'app' }])
      await waitFor(() => refusedNow() && app.mqtt.connected && statusOf(ok).every(status => status === 'active'), 'the refusals, and the others')
      t.ok(told() > before, 'told again')
      t.strictSame(await flow(), ['ok/1', 'ok2/x/y', 'ok3'], 'neighbours have theirs')
    }
    t.comment(`${nameOf(version)}: ${JSON.stringify({ reconnects: app.mqtt.status().counters.reconnects, told: told() })}`)
  })

  t.test(`P21: ${nameOf(version)}: waitForConnection fails with the refusal of a subscription`, { skip }, async t => {
    const { broker } = await withRoles(t)
    const { app } = await buildApp(t, { url: broker.url, protocolVersion: version, username: 'app', password: 'app', waitForConnection: true })
    const routes = ['ok/1', 'denied/1'].map(pattern => app.mqtt.topic(pattern, () => {}))
    for (const { subscribed } of routes) subscribed.catch(() => {})
    await t.rejects(async () => { await app.ready() }, { code: 'FST_MQTT_SUBSCRIBE_REFUSED', message: /denied\/1/ })
  })

  for (const code of version === 5 ? [0x80, 0x83, 0x87, 0x91, 0x97] : [0x80]) {
    t.test(`P13: ${nameOf(version)}: refused with ${code}, no connection lost: asked again, and what comes later is not forgotten`, async t => {
      let refusing = true
      const { app, broker } = await liveApp(t, {
        onSubscribe: ({ subscriptions }) => refusing && subscriptions[0]!.topic.startsWith('denied') ? { granted: [code] } : undefined
      }, { protocolVersion: version, reconnect: { min: 1, max: 50 } }, app => { app.mqtt.topic('ok', { qos: 1 }, () => {}) })
      const asked = (filter: string): number => broker.last.of('subscribe').filter(({ subscriptions }) => subscriptions[0]!.topic === filter).length
      const got: string[] = []
      const denied = ['denied/1', 'denied/<int:n>/x'].map(pattern => app.mqtt.topic(pattern, ({ topic }) => { got.push(topic) }))
      for (const { subscribed } of denied) await t.rejects(subscribed, { code: 'FST_MQTT_SUBSCRIBE_REFUSED', reasonCode: code })
      await app.mqtt.topic('late', () => {}).subscribed
      await waitFor(() => asked('denied/1') > 3 && asked('denied/+/x') > 3, 'being asked again')
      t.equal(asked('ok'), 1, 'the others are not asked for again')
      t.equal(asked('late'), 1)
      refusing = false
      await live(app)
      broker.last.deliver({ topic: 'denied/1' }, { topic: 'denied/7/x' })
      await waitFor(() => got.length === 2, 'messages of those')
      t.equal(broker.connections.length, 1)
      t.ok(app.mqtt.subscriptions.every(({ status, error }) => status === 'active' && error === undefined))
    })
  }
}

function deny (): object[] {
  return DENIALS.map(topic => ({ command: 'addRoleACL', rolename: 'app', acltype: 'subscribePattern', topic, allow: false, priority: 10 }))
}

/** mosquitto with its dynamic-security plugin: the user `app` may do all but subscribe to what is denied. */
async function withRoles (t: Test): Promise<{ broker: Mosquitto, control: (commands: object[]) => Promise<void> }> {
  const broker = await startMosquitto(t, { dynsec: true })
  const admin: Peer = await connectClient(t, broker.url, { ...DYNSEC_ADMIN })
  const answers = await admin.messages('$CONTROL/dynamic-security/v1/response')
  let sent = 0
  const control = async (commands: object[]): Promise<void> => {
    await admin.client.publishAsync('$CONTROL/dynamic-security/v1', JSON.stringify({ commands }), { qos: 1 })
    const { text } = (await answers.first(++sent)).at(-1)!
    if (text.includes('"error"')) throw new Error(`dynamic-security: ${text}`)
  }
  await control([
    {
      command: 'setDefaultACLAccess',
      acls: ['publishClientSend', 'publishClientReceive', 'subscribe', 'unsubscribe'].map(acltype => ({ acltype, allow: true }))
    },
    { command: 'createRole', rolename: 'app', acls: [] },
    { command: 'createClient', username: 'app', password: 'app', roles: [{ rolename: 'app' }] },
    ...deny()
  ])
  return { broker, control }
}
