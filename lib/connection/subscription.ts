import { FST_MQTT_OPTIONS, type MqttError } from '../errors.ts'
import type { Suspect } from '../suspects.ts'
import type { Granted, QoS, SubscriptionStatus } from '../types/index.ts'
import { restFor } from './backoff.ts'

/** What a subscription asks the broker for besides its filter (MQTT 5 section 3.8.3.1). */
export interface SubscriptionOptions {
  qos: QoS
  noLocal: boolean
  retainAsPublished: boolean
  retainHandling: 0 | 1 | 2
}

/** One filter on the broker, for all that need it. */
export class Subscription implements Suspect {
  readonly filter: string
  /** MQTT 5 subscription identifier. */
  readonly id: number
  options: SubscriptionOptions
  status: 'pending' | 'active' | 'refused' = 'pending'
  granted: QoS | undefined
  error: MqttError | undefined
  /** On 3.1.1: the subscription that brings this one's messages too. */
  coveredBy: Subscription | undefined
  /** The broker may have it. */
  known = false
  /** The place of its first grant among those of this session: it has a copy of all that later ones have. Undefined while there is none. */
  since: number | undefined
  /** The session was kept, and an earlier process may have asked for it there: copies may come for it before the broker answers. */
  inherited = false
  tries = 0
  alone = 0
  /** The broker hangs up in answer to it, so it is not asked for before this time on performance.now()'s clock. */
  shunnedUntil = 0
  #shuns = 0
  /** What was last sent to the broker, to see whether it is still what is wanted. */
  #sent: SubscriptionOptions | undefined
  /** Of what was sent, what the broker has answered. */
  #answered: SubscriptionOptions | undefined
  readonly #owners = new Map<object, SubscriptionOptions>()
  /** Why there will be no answer any more. */
  #over: Error | undefined
  #waiting: Array<{ resolve: (granted: Granted) => void, reject: (error: Error) => void }> = []

  constructor (filter: string, id: number, options: SubscriptionOptions) {
    this.filter = filter
    this.id = id
    this.options = options
  }

  get wanted (): boolean {
    return this.#owners.size > 0
  }

  /** Adds one that needs the filter: the highest QoS wins; flags that contradict cannot both be met. */
  acquire (owner: object, options: SubscriptionOptions): void {
    for (const flag of ['noLocal', 'retainAsPublished', 'retainHandling'] as const) {
      for (const other of this.#owners.values()) {
        if (other[flag] !== options[flag]) {
          throw FST_MQTT_OPTIONS(`${flag}: another route or subscription on the filter "${this.filter}" says ${String(other[flag])}; they share one subscription`)
        }
      }
    }
    this.#owners.set(owner, options)
    const before = this.options.qos
    this.#merge(options)
    if (this.options.qos !== before) this.reconsider()
  }

  /** True while the broker has not been asked for what is wanted now. */
  get stale (): boolean {
    return !suffices(this.#sent, this.options)
  }

  /** True when the broker has granted as much already, in the session that was kept. */
  get renewal (): boolean {
    return this.granted !== undefined && suffices(this.#answered, this.options)
  }

  /** Asks for at least this QoS too: for a subscription that this one covers. */
  raise (qos: QoS): void {
    if (qos <= this.options.qos) return
    this.options = { ...this.options, qos }
    this.reconsider()
  }

  /** What is wanted has changed: the broker's last answer is not to this. */
  reconsider (): void {
    if (!this.stale || this.status === 'pending') return
    // This may be granted, whatever the broker did at the last one.
    this.shunnedUntil = 0
    this.status = 'pending'
    this.error = undefined
  }

  release (owner: object): void {
    this.#owners.delete(owner)
    this.unraise()
  }

  /** Back to what its owners want, whatever `raise` has added. */
  unraise (): void {
    const [first] = this.#owners.values()
    if (first !== undefined) this.#merge(first)
  }

  /** Settles with the broker's answer, which may have come already. */
  async answered (): Promise<Granted> {
    if (this.status === 'active') return this.#grant()
    const error = this.#over ?? this.error
    if (error !== undefined) throw error
    return new Promise((resolve, reject) => { this.#waiting.push({ resolve, reject }) })
  }

  /** A SUBSCRIBE goes out; returns what it asks for. */
  send (): SubscriptionOptions {
    this.#sent = this.options
    this.known = true
    this.status = 'pending'
    this.error = undefined
    return this.#sent
  }

  /** True when this is what was last sent. */
  isLatest (options: SubscriptionOptions): boolean {
    return this.#sent === options
  }

  /** The broker has granted what was last sent; `place` counts its grants. */
  answer (qos: QoS, place: number): void {
    this.#shuns = 0
    this.shunnedUntil = 0
    this.since ??= place
    this.inherited = false
    this.#answered = this.#sent
    this.grant(qos)
  }

  grant (qos: QoS): void {
    this.status = 'active'
    this.granted = qos
    this.error = undefined
    for (const { resolve } of this.#waiting.splice(0)) resolve(this.#grant())
  }

  refuse (error: MqttError): void {
    this.since = undefined
    this.inherited = false
    this.status = 'refused'
    this.granted = undefined
    this.error = error
    for (const { reject } of this.#waiting.splice(0)) reject(error)
  }

  /** It is not sent, and counts as if it had been until the next connection. */
  withhold (): void {
    this.#sent = this.options
  }

  /** The broker hangs up in answer to it. `wait` is for the first time, in milliseconds; it doubles with each. */
  shun (error: MqttError, wait: number): void {
    this.shunnedUntil = performance.now() + restFor(this.#shuns++, wait)
    this.withhold()
    this.refuse(error)
  }

  /** The connection is gone: whether the broker still has it, the next one will say. What was not answered is lost. */
  suspend (): void {
    if (this.status === 'active') this.status = 'pending'
    if (this.shunnedUntil === 0) this.#sent = this.#answered
  }

  /** The session was kept, and with it what the broker has answered. With `ask` it stays pending until the broker has said so. */
  resume (ask: boolean): void {
    if (!this.renewal) this.again()
    else if (ask) this.#sent = undefined
    else this.grant(this.granted!)
  }

  /** It is not asked for on this connection: copies of it come only when the broker had granted it in this session. */
  passOver (): void {
    if (!this.known || this.#answered === undefined) this.inherited = false
  }

  /** The broker does not have it any more. */
  forget (): void {
    this.known = false
    this.since = undefined
    this.inherited = false
  }

  /** It has to be asked for again. */
  again (): void {
    this.shunnedUntil = 0
    this.status = 'pending'
    this.granted = undefined
    this.error = undefined
    this.#sent = undefined
    this.#answered = undefined
  }

  /** It is not subscribed by itself any more, since another brings its messages. */
  unsubscribed (): void {
    this.known = false
    this.#sent = undefined
    this.#answered = undefined
  }

  /** Answers those who wait, now and later, without the broker having said anything. */
  end (error: Error): void {
    this.#over = error
    for (const { reject } of this.#waiting.splice(0)) reject(error)
  }

  toJSON (): SubscriptionStatus {
    const { filter, granted, status, error } = this
    return {
      filter,
      qos: this.options.qos,
      ...(granted !== undefined && { granted }),
      status,
      ...(error !== undefined && { error: { code: error.code, message: error.message } })
    }
  }

  #grant (): Granted {
    return { filter: this.filter, qos: this.granted! }
  }

  #merge (options: SubscriptionOptions): void {
    let { qos } = options
    for (const other of this.#owners.values()) if (other.qos > qos) qos = other.qos
    this.options = { ...options, qos }
  }
}

/** More than what is wanted does no harm. */
function suffices (asked: SubscriptionOptions | undefined, wanted: SubscriptionOptions): boolean {
  return asked !== undefined && asked.qos >= wanted.qos && asked.noLocal === wanted.noLocal &&
    asked.retainAsPublished === wanted.retainAsPublished && asked.retainHandling === wanted.retainHandling
}
