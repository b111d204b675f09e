import type { MessagePort } from 'node:worker_threads'
import type { MqttErrorCode } from '../errors.ts'
import type { RequestOptions } from '../types/index.ts'
import type { ProtocolVersion, PublishProperties, QoS } from '../wire/packet.ts'

/*
 * What a worker and the main thread say to each other. Workers load this file, so it imports nothing but types.
 *
 * The channel is a MessagePort that the worker makes. Seen from the main thread it starts with whatever the worker had
 * to say before anybody answered, so nothing in it waits for `hello`. Both sides ignore what they do not know; what
 * cannot be ignored gets a new PROTOCOL.
 */

/** Changes when old and new would misunderstand each other. Another number is another package's business. */
export const PROTOCOL = 1

/** Marks a handshake among the messages of others. */
export const MARK = 'fastify-multimqtt'

/** Where `setEnvironmentData` keeps an {@link Environment}. */
export const ENVIRONMENT_KEY = `${MARK}/${PROTOCOL}`

/** The BroadcastChannel for {@link SpareMessage}. Only hubs listen: what is said there by one worker must not lie in the memory of another. */
export const SPARE_CHANNEL = ENVIRONMENT_KEY

/** The BroadcastChannel for {@link OpenedMessage}. Only workers listen that have not been answered. */
export const NEWS_CHANNEL = `${ENVIRONMENT_KEY}/news`

/** What both sides say of a topic outside `workers.topics`. */
export const NOT_PERMITTED = 'workers.topics does not let workers publish to this topic'

/** Of the memory that a worker has lent, so much is kept for its next publishes, in bytes: as much as is under way at once where a thread publishes as fast as it can. */
export const KEPT_MEMORY = 4 * 1024 * 1024

/** Milliseconds on a clock that is the same in all threads and is never set. */
export function clock (): number {
  const [seconds, nanoseconds] = process.hrtime()
  return seconds * 1_000 + nanoseconds / 1e6
}

/** What a thread tells the workers that it spawns: who owns the connection of each namespace. */
export type Environment = ReadonlyMap<string, ConnectionHint>

/** How to encode for a connection before it has answered. What became of it since, only `hello` tells. */
export interface ConnectionHint extends Layout {
  readonly threadId: number
  readonly maxBytes: number
}

/** How frames are laid out. */
export interface Layout {
  /** What was put before each topic that is not absolute, without the slash between; empty for none. */
  readonly prefix: string
  readonly version: ProtocolVersion
}

/** The worker's first word: by `postMessageToThread`, or by its `parentPort` for `attach`. */
export interface Handshake {
  readonly ns: typeof MARK
  readonly protocol: typeof PROTOCOL
  /** Which connection: empty for the one without a namespace. */
  readonly namespace: string
  /** Who asks, among all threads and times of this process. */
  readonly client: string
  /** How often it has asked, this time included. */
  readonly attempt: number
  /** For logs only. */
  readonly threadId: number
  readonly port: MessagePort
}

/**
 * What a worker says before anybody has answered it, once more and by way of a BroadcastChannel. Node drops a message of
 * `postMessageToThread`, and with it a port and all that is in it, when its reader comes to it only after the sender's
 * death; of a broadcast it does not. So this counts where no handshake arrives, and is ignored where one does.
 */
export interface SpareMessage extends Omit<Handshake, 'port'> {
  /** The thread that is meant. */
  readonly owner: number
  readonly message: WorkerMessage
}

/** Worker to main: frames, as many as fit, one message for each turn. */
export interface PublishMessage extends Layout {
  readonly type: 'publish'
  /** The frames, one behind the other. Without `used` there is not a byte more in it. */
  readonly buffer: ArrayBuffer
  /** Where the frames end in memory that is lent: it comes back with `settled`. Behind them is what this worker has published before. */
  readonly used?: number
  /** The number of the first frame. A worker numbers its publishes from 0 on, without a gap. */
  readonly first: number
  readonly count: number
  /** `number, time` of those that have a deadline of their own, in order: by {@link clock}, since it counts from the call; 0 for never. */
  readonly deadlines?: readonly number[]
  /** Numbers of those whose topic has no prefix before it; told as long as `hello` has not come, in order. */
  readonly absolute?: readonly number[]
  /** Numbers of those that may be aborted, in order. */
  readonly abortable?: readonly number[]
  /** Some have MQTT 5 properties, which an older version cannot carry. */
  readonly properties?: boolean
}

/** Worker to main: nobody waits for this publish any more. */
export interface AbortMessage {
  readonly type: 'abort'
  readonly seq: number
}

/** Worker to main: a request, which the main thread makes in the worker's place. */
export interface RequestMessage {
  readonly type: 'request'
  readonly id: number
  /** Relative to the prefix, unless `options.absolute`. */
  readonly topic: string
  readonly payload: string | Uint8Array
  readonly options: Omit<RequestOptions, 'signal'>
}

/** Worker to main: nobody waits for this answer any more. */
export interface CancelMessage {
  readonly type: 'cancel'
  readonly id: number
}

export type WorkerMessage = PublishMessage | AbortMessage | RequestMessage | CancelMessage

/** A route that a worker can build topics of. */
export interface RouteShape {
  readonly name: string
  readonly pattern: string
  readonly absolute: boolean
  /** False when it has converters of the application's own: functions do not cross threads. */
  readonly portable: boolean
}

/** Main to worker, once: the worker is known now. */
export interface HelloMessage extends Layout {
  readonly type: 'hello'
  readonly protocol: typeof PROTOCOL
  /** What the worker may have unconfirmed at all, in bytes. */
  readonly maxBytes: number
  /** Up to here QoS 0 counts as done when it is handed over. */
  readonly window: number
  /** `workers.topics`: the filters that cover what the worker may publish to; all topics without. */
  readonly topics?: readonly string[]
  readonly routes: readonly RouteShape[]
}

/** Main to worker: the named routes are others now. */
export interface RoutesMessage {
  readonly type: 'routes'
  readonly routes: readonly RouteShape[]
}

/** Main to worker: the answer to a request. */
export interface ReplyMessage {
  readonly type: 'reply'
  readonly id: number
  readonly message: ReplyShape
}

/** A message as it crosses threads. */
export interface ReplyShape {
  readonly topic: string
  readonly absoluteTopic: string
  readonly payload: Uint8Array
  readonly qos: QoS
  readonly retain: boolean
  readonly dup: boolean
  readonly properties: PublishProperties
}

/** Main to worker: why there is no answer. */
export interface UnansweredMessage {
  readonly type: 'unanswered'
  readonly id: number
  readonly error: ErrorShape
}

/** Main to worker: encode in this version from now on. What comes in another is rewritten. */
export interface VersionMessage {
  readonly type: 'version'
  readonly version: ProtocolVersion
}

/** Main to worker: what became of publishes, once for each turn of the main thread. */
export interface SettledMessage {
  readonly type: 'settled'
  /** `first, count` of those confirmed with reason code 0. */
  readonly confirmed: readonly number[]
  /** `number, reason code` of those confirmed with another. */
  readonly codes: readonly number[]
  readonly failed: readonly Failure[]
  /** Bytes that no longer count as unconfirmed. */
  readonly credit: number
  /** Memory that was lent and is done with; transferred. */
  readonly returned: ArrayBuffer[]
}

/** Publishes that ended alike. */
export interface Failure extends ErrorShape {
  readonly first: number
  readonly count: number
}

/** A coded error on its way to another thread. */
export interface ErrorShape {
  readonly code: MqttErrorCode
  readonly message: string
  readonly reasonCode?: number
  readonly maybeSent: boolean
  readonly remote?: { readonly code: string, readonly message: string }
}

/** Main to worker: nothing more is taken. What was, is still answered; then the port closes. */
export interface ClosedMessage {
  readonly type: 'closed'
  /** Publishes from this number on were not taken. */
  readonly taken: number
  readonly message: string
}

/** Main to worker, in place of `hello`, and the same in every PROTOCOL: the worker speaks another one than this. */
export interface MismatchMessage {
  readonly type: 'mismatch'
  readonly protocol: number
}

export type MainMessage =
  HelloMessage | VersionMessage | RoutesMessage | SettledMessage | ReplyMessage | UnansweredMessage | ClosedMessage | MismatchMessage

/** A hub, by way of a BroadcastChannel of its own: this connection can be found in this thread from now on. */
export interface OpenedMessage {
  readonly ns: typeof MARK
  readonly protocol: typeof PROTOCOL
  readonly namespace: string
  readonly opened: number
}

/** In which thread a connection of this namespace has come up, or undefined. */
export function openedIn (value: unknown, wanted: string): number | undefined {
  if (typeof value !== 'object' || value === null) return undefined
  const { ns, protocol, namespace, opened } = value as Partial<OpenedMessage>
  return ns === MARK && protocol === PROTOCOL && namespace === wanted ? opened : undefined
}

/** The port in a handshake of another version of the package, and which it speaks; or undefined. */
export function foreignHandshake (value: unknown): Pick<Handshake, 'port'> & { protocol: number } | undefined {
  if (typeof value !== 'object' || value === null) return undefined
  const { ns, protocol, port } = value as { ns?: unknown, protocol?: unknown, port?: Partial<MessagePort> }
  const isForeign = ns === MARK && typeof protocol === 'number' && protocol !== PROTOCOL && typeof port?.postMessage === 'function'
  return isForeign ? { protocol, port: port as MessagePort } : undefined
}

/** True for a handshake that this version of the package has to answer. */
export function isHandshake (value: unknown): value is Handshake {
  return isOurs(value) && typeof (value as Partial<Handshake>).port?.postMessage === 'function'
}

/** True for a spare message that this version of the package understands. */
export function isSpare (value: unknown): value is SpareMessage {
  return isOurs(value) && typeof (value as Partial<SpareMessage>).owner === 'number'
}

function isOurs (value: unknown): boolean {
  if (typeof value !== 'object' || value === null) return false
  const { ns, protocol, namespace, client } = value as Partial<Handshake>
  return ns === MARK && protocol === PROTOCOL && typeof namespace === 'string' && typeof client === 'string'
}

/** What kind of message this is, or undefined. */
export function messageType (value: unknown): unknown {
  return typeof value === 'object' && value !== null ? (value as { type?: unknown }).type : undefined
}
