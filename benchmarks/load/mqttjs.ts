import mqtt, { type MqttClient } from 'mqtt'
import { nextEvent } from '../../test/support/events.ts'
import type { Done, Publisher } from './publisher.ts'

/** A client of mqtt.js with its own defaults. */
export async function connectMqttJs (url: string, version: 4 | 5): Promise<MqttClient> {
  const client = mqtt.connect(url, { protocolVersion: version, reconnectPeriod: 0 })
  await nextEvent(client, 'connect')
  return client
}

/** Publishes with a callback each, as most people would. */
export function mqttJsPublisher (client: MqttClient, qos: 0 | 1): Publisher {
  return {
    send: qos === 0
      ? (topic, payload, done) => { client.publish(topic, payload, done) }
      : (topic, payload, done) => { client.publish(topic, payload, { qos: 1 }, done) },
    publish: qos === 0
      ? (topic, payload) => client.publishAsync(topic, payload)
      : (topic, payload) => client.publishAsync(topic, payload, { qos: 1 }),
    barrier: () => client.publishAsync('barrier', '', { qos: 1 })
  }
}

/**
 * Publishes in the way that costs mqtt.js least. A callback of QoS 0 is a listener for the socket's 'drain' as soon as
 * that is full, and a thousand of them take much longer than the publishes do; so here one listener stands for all.
 */
export function frugalMqttJsPublisher (client: MqttClient, qos: 0 | 1): Publisher {
  const publisher = mqttJsPublisher(client, qos)
  if (qos === 1) return publisher
  let waiting: Done[] = []
  client.stream.on('drain', () => {
    const drained = waiting
    waiting = []
    for (const done of drained) done()
  })
  return {
    ...publisher,
    send (topic, payload, done) {
      client.publish(topic, payload)
      if (client.stream.writableNeedDrain) waiting.push(done)
      else done()
    }
  }
}
