import { MqttClient } from 'mqtt'
import t from 'tap'
import { buildApp, connect, mosquittoSettings } from '../support/app.ts'
import { connectClient } from '../support/client.ts'
import { waitFor } from '../support/events.ts'

/* `client` is mqtt.js, and works beside what the plugin sends on the same connection. */

for (const { name, skip, start } of mosquittoSettings()) {
  t.test(name, { skip }, async t => {
    const { options, broker } = await start(t)
    const { app } = await buildApp(t, { ...options, prefix: 'plant' })
    t.type(app.mqtt.client, MqttClient)
    let hooks = 0
    app.mqtt.addHook('onPublish', () => { hooks++ })
    await connect(app)
    const { messages } = await connectClient(t, broker!.url, { protocolVersion: options.protocolVersion as 4 | 5 })
    const seen = await messages('#', { qos: 2 })
    // Both at once: neither takes the other's answers. A few only: mosquitto counts them together, and takes 20 of QoS 2.
    await Promise.all([0, 1, 2].flatMap(qos => Array.from({ length: 5 }, (_, n) => [
      app.mqtt.client.publishAsync(`raw/${qos}/${n}`, 'x', { qos: qos as 0 | 1 | 2 }), app.mqtt.publish(`own/${qos}/${n}`, 'x', { qos: qos as 0 | 1 | 2 })
    ]).flat()))
    const all = (await seen.first(30)).map(({ topic }) => topic)
    t.equal(new Set(all).size, 30)
    t.equal(all.filter(topic => topic.startsWith('raw/')).length, 15, 'without the prefix')
    t.equal(hooks, 15, 'and past the hooks')
    await waitFor(() => app.mqtt.status().outbox.messages === 0, 'an empty outbox')
    t.match(app.mqtt.status().counters, { published: 15, reconnects: 0 })
  })
}
