import t from 'tap'
import type { QoS } from '../../lib/index.ts'
import { buildApp, connect, live, mosquittoSettings } from '../support/app.ts'
import { waitFor } from '../support/events.ts'
import { Ledger } from '../support/ledger.ts'

const reconnect = { min: 10, max: 100 }

for (const { name, skip, start } of mosquittoSettings()) {
  t.test(name, { skip }, t => {
    t.test('after a restart of the broker every route is live again', async t => {
      const { options, broker } = await start(t)
      const { app } = await buildApp(t, { ...options, reconnect })
      const got: string[] = []
      for (const pattern of ['a/<int:n>', 'b/#', 'c', 'd/+/<path:rest>']) app.mqtt.topic(pattern, { qos: 1 }, message => { got.push(message.topic) })
      await connect(app)
      await app.mqtt.subscribe('e/+')
      await broker!.kill()
      await waitFor(() => !app.mqtt.connected, 'the loss')
      t.ok(['reconnecting', 'connecting'].includes(app.mqtt.state))
      app.mqtt.topic('late', { qos: 1 }, message => { got.push(message.topic) })
      const offline = app.mqtt.publish('late', 'published offline', { qos: 1 })
      await broker!.start()
      await live(app)
      await offline
      for (const topic of ['a/1', 'b', 'c', 'd/x/y/z']) await app.mqtt.publish(topic, '', { qos: 1 })
      await waitFor(() => got.length >= 4, 'the messages')
      for (const topic of ['a/1', 'b', 'c', 'd/x/y/z']) t.ok(got.includes(topic), topic)
      t.equal(app.mqtt.subscriptions.length, 6)
      t.equal(app.mqtt.status().counters.reconnects, 1)
    })

    t.test('publishing goes on over restarts: nothing confirmed is lost', async t => {
      const { options, broker } = await start(t)
      const { app } = await buildApp(t, { ...options, reconnect, publishTimeout: 0 })
      const seen: Record<1 | 2, Ledger> = { 1: new Ledger(), 2: new Ledger() }
      app.mqtt.topic('n/<int:qos>', { qos: 2 }, message => {
        seen[message.params.qos as 1 | 2].received(Number(message.text()))
      })
      await connect(app)
      const lost: Record<number, number> = { 1: 0, 2: 0 }
      const publish = async (qos: Exclude<QoS, 0>): Promise<void> => {
        const n = seen[qos].next()
        await app.mqtt.publish(`n/${qos}`, n, { qos }).then(() => seen[qos].confirmed(n), (error: { code: string }) => {
          t.equal(error.code, 'FST_MQTT_SESSION_LOST')
          lost[qos]!++
        })
      }
      const running: Array<Promise<void>> = []
      for (let round = 0; round < 3; round++) {
        for (let i = 0; i < 300; i++) running.push(publish(1), publish(2))
        // What this round has published is confirmed and delivered before the broker goes, or is not confirmed at all.
        await Promise.all(running)
        await waitFor(() => seen[1].report().lost.length === 0 && seen[2].report().lost.length === 0, 'the round')
        await broker!.kill()
        await waitFor(() => !app.mqtt.connected, 'the loss')
        for (let i = 0; i < 100; i++) running.push(publish(1), publish(2))
        await broker!.start()
        await live(app)
      }
      await Promise.all(running)
      await waitFor(() => seen[1].report().lost.length === 0 && seen[2].report().lost.length === 0, 'the last')
      t.strictSame({ ...seen[1].report(), duplicated: [], reordered: [] }, { lost: [], duplicated: [], foreign: [], reordered: [] })
      t.strictSame(seen[2].report().duplicated, [], 'nothing twice at QoS 2')
      t.equal(lost[1], 0)
    })
    t.end()
  })
}
