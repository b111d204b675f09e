import type { FastifyBaseLogger } from 'fastify'
import { logFailure, type MqttError } from '../errors.ts'
import { PublishHooks } from '../outbox/publish-hooks.ts'
import type { Publisher } from '../outbox/publisher.ts'
import type { MqttRoute } from '../routing/route.ts'
import type { ReplySink } from '../routing/route-job.ts'
import type { PublishOptions } from '../types/index.ts'
import type { Publish } from '../wire/decode.ts'
import { describeError, ERROR_CODE, ERROR_MESSAGE } from '../wire/user-properties.ts'

/** Milliseconds that the copies of one message may lie apart. They come one behind the other. */
const APART = 1_000

/** Of one route; the answer passes the hooks of its scope. */
type Outcome = { readonly route: MqttRoute } & ({ readonly value: unknown } | { readonly error: Error })

/** Where an answer goes. */
interface Address {
  readonly topic: string
  readonly options: PublishOptions
}

/** Answers to messages that ask for one (MQTT 5 section 4.10): exactly one for each, whatever the number of routes. */
export class Replies {
  readonly #publisher: Publisher
  readonly #log: FastifyBaseLogger
  /** Of messages that the broker sends a copy of for each subscription: each copy has some of the routes. */
  readonly #parted = new Map<string, Reply>()

  constructor (publisher: Publisher, log: FastifyBaseLogger) {
    this.#publisher = publisher
    this.#log = log
  }

  /**
   * A message that asks for an answer is about to be handled.
   *
   * @param all every route that matches, in order of registration
   * @param own those that this copy of the message is for
   */
  begin (publish: Publish, all: readonly MqttRoute[], own: readonly MqttRoute[]): ReplySink {
    if (own.length === all.length) return this.#create(publish, all).begin(own)
    const key = keyOf(publish)
    let reply = this.#parted.get(key)
    // Requests need not be told apart by their correlation data: the next one begins where a route would run again.
    if (reply === undefined || own.some(route => reply!.has(route))) {
      const created = reply = this.#create(publish, all)
      this.#parted.set(key, created)
      setTimeout(() => {
        if (this.#parted.get(key) === created) this.#parted.delete(key)
        created.giveUp()
      }, APART).unref()
    }
    return reply.begin(own)
  }

  #create ({ properties, qos }: Publish, routes: readonly MqttRoute[]): Reply {
    const { responseTopic, correlationData } = properties!
    const address: Address = {
      topic: responseTopic!,
      options: {
        qos,
        absolute: true,
        // A copy: it is a view on all that was read with it.
        ...(correlationData !== undefined && { properties: { correlationData: Buffer.from(correlationData) } })
      }
    }
    return new Reply(routes, outcome => { void this.#send(address, outcome) })
  }

  async #send (address: Address, outcome: Outcome): Promise<void> {
    const { route } = outcome
    try {
      if ('error' in outcome) await this.#publish(failure(address, outcome.error), '', route)
      else await this.#publish(address, outcome.value, route)
    } catch (error) {
      if (!('error' in outcome) && (error as MqttError | undefined)?.code === 'FST_MQTT_PAYLOAD') await this.#send(address, { route, error: error as Error })
      else logFailure(this.#log, error, 'MQTT reply failed', 'warn')
    }
  }

  #publish ({ topic, options }: Address, payload: unknown, { definition }: MqttRoute): Promise<unknown> {
    return this.#publisher.publish(topic, payload, options, PublishHooks.of(definition.scope))
  }
}

function failure ({ topic, options }: Address, error: Error): Address {
  const { code, message } = describeError(error)
  const userProperties = { [ERROR_CODE]: code, [ERROR_MESSAGE]: message }
  return { topic, options: { ...options, properties: { ...options.properties, userProperties } } }
}

/** One message's answer, until it is known. */
class Reply implements ReplySink {
  readonly #routes: readonly MqttRoute[]
  readonly #send: (outcome: Outcome) => void
  readonly #begun = new Set<MqttRoute>()
  readonly #outcomes = new Map<MqttRoute, Outcome>()
  #sent = false
  /** No further copy comes: routes that have not begun never will. */
  #complete = false

  constructor (routes: readonly MqttRoute[], send: (outcome: Outcome) => void) {
    this.#routes = routes
    this.#send = send
  }

  has (route: MqttRoute): boolean {
    return this.#begun.has(route)
  }

  begin (routes: readonly MqttRoute[]): this {
    for (const route of routes) this.#begun.add(route)
    return this
  }

  giveUp (): void {
    this.#complete = true
    this.#consider()
  }

  returned (route: MqttRoute, value: unknown): void {
    this.#outcomes.set(route, { route, value })
    this.#consider()
  }

  failed (route: MqttRoute, error: Error): void {
    this.#outcomes.set(route, { route, error })
    this.#consider()
  }

  /** What the first route returned that is not undefined; else the first failure; else nothing. */
  #consider (): void {
    if (this.#sent) return
    let failure: Outcome | undefined
    for (const route of this.#routes) {
      const outcome = this.#outcomes.get(route)
      if (outcome === undefined) {
        if (this.#complete && !this.#begun.has(route)) continue
        return
      }
      if ('error' in outcome) {
        failure ??= outcome
      } else if (outcome.value !== undefined) {
        this.#answer(outcome)
        return
      }
    }
    this.#answer(failure ?? { route: this.#routes[0]!, value: undefined })
  }

  #answer (outcome: Outcome): void {
    this.#sent = true
    this.#send(outcome)
  }
}

function keyOf ({ topic, properties }: Publish): string {
  return `${topic}\0${properties!.responseTopic}\0${properties!.correlationData?.toString('latin1') ?? ''}`
}
