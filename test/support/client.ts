import mqtt, { type IClientOptions, type IPublishPacket, type MqttClient } from 'mqtt'
import { waitFor, withinTime, type WaitOptions } from './events.ts'
import type { Owner } from './folder.ts'

/** A message as the other side received it. */
export interface Received {
  topic: string
  /** The payload as text. */
  text: string
  payload: Buffer
  packet: IPublishPacket
}

/** What a filter has brought so far. */
export interface Inbox {
  /** In order of arrival. */
  readonly all: readonly Received[]
  /** Resolves with the messages once there are `count`. */
  first (count: number, options?: WaitOptions): Promise<Received[]>
}

/** A plain mqtt.js client, the other side of a test. */
export interface Peer {
  readonly client: MqttClient
  /** Subscribes; resolves at SUBACK, so that what is published from then on is seen. Rejects when refused. */
  readonly messages: (filter: string, options?: { qos?: 0 | 1 | 2 }) => Promise<Inbox>
}

/** Connects a client of MQTT 3.1.1 unless the options say otherwise. It ends with the test. */
export async function connectClient (t: Owner, url: string, options: IClientOptions = {}): Promise<Peer> {
  return connected(t, mqtt.connect(url, { reconnectPeriod: 0, connectTimeout: 10_000, ...options }))
}

/** The same around a client made elsewhere, such as one on a stream in memory. */
export async function connected (t: Owner, client: MqttClient): Promise<Peer> {
  t.after(() => { client.end(true) })
  await withinTime(new Promise<void>((resolve, reject) => {
    client.once('connect', () => { resolve() })
    client.once('error', reject)
    client.once('close', () => { reject(new Error('closed without CONNACK')) })
  }), 'CONNACK')
  client.on('error', () => {}) // Later ones are the test's to look at.
  return {
    client,
    messages: async (filter, { qos = 0 } = {}) => subscribe(client, filter, qos)
  }
}

/** The error of a connection that is expected to fail. */
export async function refusal (t: Owner, url: string, options: IClientOptions = {}): Promise<Error & { code?: unknown }> {
  try {
    await connectClient(t, url, options)
  } catch (error) {
    return error as Error
  }
  throw new Error('the connection was accepted')
}

async function subscribe (client: MqttClient, filter: string, qos: 0 | 1 | 2): Promise<Inbox> {
  const all: Received[] = []
  const matches = matcher(filter)
  client.on('message', (topic, payload, packet) => {
    if (matches(topic)) all.push({ topic, text: payload.toString(), payload, packet })
  })
  await withinTime(client.subscribeAsync(filter, { qos }), `SUBACK of ${filter}`)
  return {
    all,
    async first (count, options) {
      await waitFor(() => all.length >= count, `${count} messages of ${filter}`, options).catch((error: unknown) => {
        throw new Error(`${(error as Error).message}, ${all.length} came`)
      })
      return all.slice(0, count)
    }
  }
}

/** One client may hold several inboxes. Naive on purpose: it is what the package's own matcher is not. */
function matcher (filter: string): (topic: string) => boolean {
  const levels = filter.replace(/^\$share\/[^/]+\//, '').split('/')
  return topic => {
    const parts = topic.split('/')
    for (const [index, level] of levels.entries()) {
      if (level === '#') return !topic.startsWith('$') || index > 0
      if (index >= parts.length || (level !== '+' && level !== parts[index])) return false
      if (level === '+' && index === 0 && topic.startsWith('$')) return false
    }
    return parts.length === levels.length
  }
}
