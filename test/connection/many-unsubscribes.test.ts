import t from 'tap'
import { liveApp } from '../faults/scripted-app.ts'
import { waitFor } from '../support/events.ts'

/* More filters than may be unanswered at once: what waits for room must not go into a connection that is gone already. */

for (const protocolVersion of [5, 4] as const) {
  t.test(`MQTT ${protocolVersion}: a connection that is lost among them costs the next one nothing`, async t => {
    const { app, broker } = await liveApp(t, { onUnsubscribe: () => false }, { protocolVersion }, app => { app.mqtt.topic('stays', () => {}) })
    await app.mqtt.subscribe(Array.from({ length: 2_500 }, (_, i) => `f/${i}`))
    void app.mqtt.unsubscribeAll()
    await broker.last.until('unsubscribe', 1_000)
    broker.last.drop()
    const second = await broker.connection(1)
    await second.until('subscribe')
    await waitFor(() => app.mqtt.subscriptions.every(({ status }) => status === 'active'), 'the route')
    await app.mqtt.subscribe('one more')
    t.match(second.of('subscribe').map(({ subscriptions }) => subscriptions[0]!.topic), ['stays', 'one more'])
  })
}
