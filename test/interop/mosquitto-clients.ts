import { existsSync } from 'node:fs'
import { delimiter, join } from 'node:path'
import { waitFor } from '../support/events.ts'
import type { Owner } from '../support/folder.ts'
import { mosquittoMissing, startMosquitto, type Mosquitto } from '../support/mosquitto.ts'
import { startProgram, type Ending, type Program } from './program.ts'

/* mosquitto_pub, mosquitto_sub and mosquitto_rr: what people have at hand in a shell. */

export type Version = 'mqttv5' | 'mqttv311'

export const VERSIONS: readonly Version[] = ['mqttv5', 'mqttv311']

/** Why tests with them are skipped, or false when they and the broker are there. On CI a missing one is a failure. */
export function clientsMissing (): string | false {
  const folders = (process.env.PATH ?? '').split(delimiter)
  const missing = ['mosquitto_pub', 'mosquitto_sub', 'mosquitto_rr'].find(name => !folders.some(folder => existsSync(join(folder, name))))
  if (missing === undefined) return mosquittoMissing()
  const message = `${missing} is not installed`
  if (process.env.CI === 'true') throw new Error(message)
  return message
}

/** A message as mosquitto_sub prints it in {@link FORMAT}. */
export interface Printed {
  topic: string
  payload: Buffer
  qos: number
  retain: boolean
  /** MQTT 5. */
  contentType: string
  expiry: string
  responseTopic: string
  /** `name:value`, each followed by a space. */
  userProperties: string
}

/** QoS, retain, topic, payload as hex, and MQTT 5 properties. A tab is in none of them. */
const FORMAT = '%q\\t%r\\t%t\\t%x\\t%C\\t%E\\t%R\\t%P'

/** A broker whose log tells when somebody has subscribed: mosquitto_sub itself holds such lines back in a pipe. */
export async function startTalkative (t: Owner): Promise<Mosquitto> {
  return startMosquitto(t, { config: ['log_type all'] })
}

/** Where they find the broker. */
export function reaching (broker: Mosquitto, version: Version): string[] {
  return ['-h', '127.0.0.1', '-p', String(broker.port), '-V', version]
}

/** Runs one of them to its end, which is to be a good one. */
export async function runClient (t: Owner, program: string, args: readonly string[], input: string | Buffer = ''): Promise<Ending> {
  const running = startProgram(t, program, args)
  running.child.stdin.end(input)
  const ending = await running.end()
  if (ending.code !== 0) throw new Error(`${program} ${args.join(' ')} ended with ${ending.code ?? ending.signal}:\n${ending.errors}`)
  return ending
}

/** A running mosquitto_sub. */
export interface Subscriber {
  readonly program: Program
  /** In order of arrival. */
  readonly messages: readonly Printed[]
}

/** Starts mosquitto_sub; resolves when all that it asked for is subscribed. It ends with the test. */
export async function subscribe (t: Owner, broker: Mosquitto, version: Version, args: readonly string[]): Promise<Subscriber> {
  const messages: Printed[] = []
  const id = `sub-${Math.random().toString(36).slice(2)}`
  const program = startProgram(t, 'mosquitto_sub', [...subscribing(broker, version), '-i', id, ...args], line => {
    messages.push(parsePrinted(line))
  })
  await waitFor(() => broker.log().includes(`Sending SUBACK to ${id}`), `SUBACK for mosquitto_sub ${args.join(' ')}`)
    .catch((error: unknown) => { throw new Error(`${(error as Error).message}\n${program.errors}`) })
  return { program, messages }
}

/** What one that was run to its end has received. */
export async function collect (t: Owner, broker: Mosquitto, version: Version, args: readonly string[]): Promise<Printed[]> {
  const { output } = await runClient(t, 'mosquitto_sub', [...subscribing(broker, version), ...args])
  return output.split('\n').slice(0, -1).map(parsePrinted)
}

/**
 * On MQTT 5 libmosquitto 2.0.11 takes 20 at once by default, and hangs up on a mosquitto 2.0.11 that sends so many of QoS 1
 * and 2 mixed, whoever published them.
 */
function subscribing (broker: Mosquitto, version: Version): string[] {
  return [...reaching(broker, version), ...(version === 'mqttv5' ? ['-D', 'connect', 'receive-maximum', '1000'] : []), '-F', FORMAT]
}

function parsePrinted (line: string): Printed {
  const [qos, retain, topic = '', payload = '', contentType = '', expiry = '', responseTopic = '', userProperties = ''] = line.split('\t')
  return { topic, payload: Buffer.from(payload, 'hex'), qos: Number(qos), retain: retain === '1', contentType, expiry, responseTopic, userProperties }
}
