/** One function serves all publishes of a load, so that it costs no competitor anything. */
export type Done = (outcome?: unknown) => void

/** Somebody who publishes: one interface for all competitors, as thin as it can be. */
export interface Publisher {
  /** `done` is called when the publish has settled, with an Error or anything else: as users would learn of it. */
  send (topic: string, payload: Buffer, done: Done): void
  /** The same, awaited. */
  publish (topic: string, payload: Buffer): Promise<unknown>
  /** One publish of QoS 1, confirmed: everything sent before it has come to the broker then. */
  barrier (): Promise<unknown>
}

/** What has a `publish` as `app.mqtt` and `mqtt` in a worker have it. */
export interface Publishing {
  publish (topic: string, payload: Buffer, options?: { qos: 0 | 1 }): Promise<unknown>
}

/** Publishes by promises. */
export function promisePublisher (mqtt: Publishing, qos: 0 | 1): Publisher {
  const publish = qos === 0
    ? (topic: string, payload: Buffer) => mqtt.publish(topic, payload)
    : (topic: string, payload: Buffer) => mqtt.publish(topic, payload, { qos: 1 })
  return {
    send: (topic, payload, done) => { publish(topic, payload).then(done, done) },
    publish,
    barrier: () => mqtt.publish('barrier', EMPTY, { qos: 1 })
  }
}

const EMPTY = Buffer.alloc(0)
