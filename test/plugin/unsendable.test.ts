import t from 'tap'
import { run } from '../bridge/threads.ts'
import { startAedes } from '../support/aedes.ts'
import { allSettings, buildApp, connect } from '../support/app.ts'
import { waitFor } from '../support/events.ts'
import type { RecordingLogger } from '../support/logger.ts'

/* What MQTT 3.1.1 cannot carry is warned about, and not silently dropped. */

const OPTIONS = [
  ['noLocal', { noLocal: true }],
  ['retainAsPublished', { retainAsPublished: true }],
  ['retainHandling', { retainHandling: 2 }]
] as const
const PROPERTIES = { contentType: 'text/plain', userProperties: { by: 'me' } }
const ABOUT_PROPERTIES = /MQTT 5 properties were given to a publish/

for (const { name, skip, start } of allSettings()) {
  const speaks5 = name.endsWith('MQTT 5')
  const each = speaks5 ? 0 : 1
  const said = speaks5 ? 'none' : 'one'

  t.test(name, { skip }, async t => {
    const { options } = await start(t)

    for (const [option, value] of OPTIONS) {
      await t.test(`${option}: ${said} of a route, ${said} of subscribe`, async t => {
        const { app, logger } = await buildApp(t, options)
        const got: string[] = []
        app.mqtt.topic(`route/${option}`, value, message => { got.push(message.topic) })
        // The same filter once more: nothing new to be told.
        app.mqtt.topic(`route/${option}`, value, () => {})
        await connect(app)
        await app.mqtt.subscribe(`plain/${option}`, value)
        t.equal(warnings(logger, option, `route/${option}`), each)
        t.equal(warnings(logger, option, `plain/${option}`), each)
        t.equal(warnings(logger), 2 * each, 'and no more')
        if (option === 'noLocal' && speaks5) return
        await app.mqtt.publish(`route/${option}`, 'all the same', { qos: 1 })
        await waitFor(() => got.length > 0, 'a message by a subscription that was warned about')
      })
    }

    await t.test(`all three at once: ${said} for each`, async t => {
      const { app, logger } = await buildApp(t, options)
      app.mqtt.topic('all', { noLocal: true, retainAsPublished: true, retainHandling: 1 }, () => {})
      await connect(app)
      t.strictSame(OPTIONS.map(([option]) => warnings(logger, option, 'all')), [each, each, each])
      t.equal(warnings(logger), 3 * each, 'and no more')
    })

    await t.test(`properties of a publish: ${said}, however many publishes`, async t => {
      const { app, logger } = await buildApp(t, options)
      const got: string[] = []
      app.mqtt.topic('news', message => { got.push(`${message.text()} ${message.properties.contentType ?? '-'}`) })
      await connect(app)
      await app.mqtt.publish('news', 'bare')
      await app.mqtt.publish('news', 'empty', { properties: {} })
      t.equal(warnings(logger), 0, 'none without properties')
      for (const qos of [0, 1, 2] as const) await app.mqtt.publish('news', `q${qos}`, { qos, properties: PROPERTIES })
      await waitFor(() => got.length === 5, 'every message')
      const type = speaks5 ? 'text/plain' : '-'
      // The embedded broker does not keep their order.
      t.strictSame(got.sort(), ['bare -', 'empty -', `q0 ${type}`, `q1 ${type}`, `q2 ${type}`], 'the messages go all the same')
      t.equal(warnings(logger, ABOUT_PROPERTIES), each)
      t.equal(warnings(logger), each, 'and no more')
    })

    await t.test(`properties that a hook has set: ${said}`, async t => {
      const { app, logger } = await buildApp(t, options)
      app.mqtt.addHook('onPublish', packet => { packet.properties = PROPERTIES })
      await connect(app)
      await app.mqtt.publish('news', '1', { qos: 1 })
      await app.mqtt.publish('news', '2', { qos: 1 })
      t.equal(warnings(logger, ABOUT_PROPERTIES), each)
    })

    for (const by of ['a worker', 'a hook of a worker\'s publish']) {
      await t.test(`properties that ${by} has set: ${said}`, async t => {
        const { app, logger } = await buildApp(t, options)
        if (by !== 'a worker') app.mqtt.addHook('onPublish', packet => { packet.properties = PROPERTIES })
        await connect(app)
        await run('awaited', { topic: 'news', count: 3, qos: 1, ...(by === 'a worker' && { properties: PROPERTIES }) })
        t.equal(app.mqtt.status().counters.published, 3)
        t.equal(warnings(logger, ABOUT_PROPERTIES), each)
        t.equal(warnings(logger), each, 'and no more')
      })
    }

    await t.test('what 3.1.1 can carry is not warned about', async t => {
      const { app, logger } = await buildApp(t, options)
      app.mqtt.topic('quiet', { qos: 1, noLocal: false, retainAsPublished: false, retainHandling: 0 }, () => {})
      await connect(app)
      await app.mqtt.publish('quiet', '', { qos: 1, retain: true })
      t.equal(warnings(logger), 0)
    })

    await t.test(`a filter that another one covers: ${said} as well`, async t => {
      const { app, logger } = await buildApp(t, options)
      app.mqtt.topic('house/#', () => {})
      app.mqtt.topic('house/door', { noLocal: true }, () => {})
      await connect(app)
      t.equal(warnings(logger, 'noLocal', 'house/door'), each)
    })
  })
}

t.test('properties of a publish that was encoded for MQTT 5, and leaves on 3.1.1', async t => {
  const { url } = await startAedes(t)
  const { app, logger } = await buildApp(t, { url, protocolVersion: 'auto' })
  // Nothing is known of the broker yet.
  const published = app.mqtt.publish('early', 'bird', { qos: 1, properties: PROPERTIES })
  await connect(app)
  t.equal(app.mqtt.protocolVersion, 4)
  await published
  t.equal(warnings(logger, ABOUT_PROPERTIES), 1)
})

/** How many warnings hold all of these. */
function warnings (logger: RecordingLogger, ...parts: ReadonlyArray<string | RegExp>): number {
  return logger.lines.filter(({ level, line }) => level === 'warn' && parts.every(part => typeof part === 'string' ? line.includes(part) : part.test(line))).length
}
