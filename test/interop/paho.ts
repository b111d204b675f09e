import { execFileSync } from 'node:child_process'
import { join } from 'node:path'
import type { QoS } from '../../lib/index.ts'
import { waitFor, withinTime } from '../support/events.ts'
import type { Owner } from '../support/folder.ts'
import type { Mosquitto } from '../support/mosquitto.ts'
import { ROOT } from '../support/project.ts'
import { startProgram, type Program } from './program.ts'

/** It is not compiled, so it lies in the sources only. Called paho.py it would be taken for the library itself. */
const SCRIPT = join(ROOT, 'test/interop/fixtures/paho-client.py')

/** Debian's paho-mqtt is that of the system's Python, which need not be the first in the path. */
const PYTHON = ['/usr/bin/python3', 'python3'].find(python => {
  try {
    execFileSync(python, ['-c', 'import paho.mqtt.client'], { stdio: 'ignore' })
    return true
  } catch {
    return false
  }
})

/** Why tests with paho are skipped, or false when it is there. On CI a missing one is a failure, as with mosquitto. */
export function pahoMissing (): string | false {
  if (PYTHON !== undefined) return false
  const message = 'python3-paho-mqtt is not installed'
  if (process.env.CI === 'true') throw new Error(message)
  return message
}

/** MQTT 5 properties as the script tells them. */
export interface PahoProperties {
  payloadFormatIndicator?: 0 | 1
  messageExpiryInterval?: number
  contentType?: string
  responseTopic?: string
  correlationData?: Buffer
  userProperties?: Array<[name: string, value: string]>
}

export interface PahoPublish {
  topic: string
  payload: Buffer | string
  qos?: QoS
  retain?: boolean
  properties?: PahoProperties
}

/** A message that paho received. */
export interface PahoMessage {
  topic: string
  payload: Buffer
  qos: QoS
  retain: boolean
  properties: PahoProperties
}

export interface PahoOptions {
  version: 4 | 5
  will?: PahoPublish
}

/** A Python client of the other great MQTT library. */
export class Paho {
  /** In order of arrival. */
  readonly messages: PahoMessage[] = []
  /** How often it has connected: it does so again when the broker ends a connection. */
  connections = 0
  readonly #program: Program
  readonly #waiting = new Map<number, (event: { granted?: number[] }) => void>()
  #last = 0

  constructor (t: Owner, options: object) {
    this.#program = startProgram(t, PYTHON!, [SCRIPT, JSON.stringify(options)], line => { this.#hear(JSON.parse(line)) })
  }

  async connected (): Promise<void> {
    const [, reason] = await this.#program.line(/"event": "connected", "reason": "([^"]*)"/)
    if (reason !== '0' && reason !== 'Success') throw new Error(`paho was refused: ${reason}`)
  }

  /** Resolves when the broker has confirmed: at PUBACK, at PUBCOMP. */
  async publish (publish: PahoPublish): Promise<void> {
    await this.#do({ do: 'publish', ...toWire(publish) })
  }

  /** Resolves at SUBACK with what was granted. */
  async subscribe (filter: string, qos: QoS = 2): Promise<number[]> {
    return (await this.#do({ do: 'subscribe', filter, qos })).granted ?? []
  }

  /** Requests of this filter are answered from now on: `answer to ` and what they held. */
  async answer (filter: string, qos: QoS = 1): Promise<void> {
    await this.#do({ do: 'answer', filter, qos })
  }

  /** The messages of topics that begin so, once there are `count`. */
  async received (start: string, count: number): Promise<PahoMessage[]> {
    const some = (): PahoMessage[] => this.messages.filter(({ topic }) => topic.startsWith(start))
    await waitFor(() => some().length >= count, `${count} messages of ${start}`).catch((error: unknown) => {
      throw new Error(`${(error as Error).message}, ${some().length} came\n${this.#program.errors}`)
    })
    return some()
  }

  /** As a crash: its will goes out. */
  async kill (): Promise<void> { await this.#program.kill() }

  async #do (command: object): Promise<{ granted?: number[] }> {
    const id = ++this.#last
    const done = new Promise<{ granted?: number[] }>(resolve => { this.#waiting.set(id, resolve) })
    this.#program.child.stdin.write(`${JSON.stringify({ ...command, id })}\n`)
    return withinTime(done, `paho's ${JSON.stringify(command).slice(0, 80)}`)
      .catch((error: unknown) => { throw new Error(`${(error as Error).message}\n${this.#program.errors}`) })
  }

  #hear ({ event, ...rest }: Heard): void {
    if (event === 'connected') this.connections++
    else if (event === 'message') this.messages.push(fromWire(rest as PahoMessage))
    else {
      this.#waiting.get(rest.id!)?.(rest)
      this.#waiting.delete(rest.id!)
    }
  }
}

/** A line of the script's. */
interface Heard extends Partial<PahoMessage> {
  event: 'connected' | 'done' | 'message'
  id?: number
  granted?: number[]
}

/** Starts a client and waits until it is connected; it ends with the test. */
export async function startPaho (t: Owner, broker: Mosquitto, { version, will }: PahoOptions): Promise<Paho> {
  const options = {
    host: '127.0.0.1',
    port: broker.port,
    version,
    clientId: `paho-${Math.random().toString(36).slice(2)}`,
    will: will === undefined ? null : toWire(will)
  }
  const paho = new Paho(t, options)
  await paho.connected()
  return paho
}

function toWire ({ topic, payload, qos = 0, retain = false, properties = {} }: PahoPublish): object {
  const { correlationData, ...others } = properties
  return {
    topic,
    payload: Buffer.from(payload).toString('base64'),
    qos,
    retain,
    properties: { ...others, ...(correlationData !== undefined && { correlationData: correlationData.toString('base64') }) }
  }
}

/** Bytes come as base64. */
function fromWire (message: PahoMessage): PahoMessage {
  const { correlationData, ...properties } = message.properties
  return {
    ...message,
    payload: fromBase64(message.payload),
    properties: { ...properties, ...(correlationData !== undefined && { correlationData: fromBase64(correlationData) }) }
  }
}

function fromBase64 (text: unknown): Buffer {
  return Buffer.from(text as string, 'base64')
}
