import type { Handling, Reception } from '../inbox/inbox.ts'
import type { Job } from '../inbox/scheduler.ts'
import { stripPrefix } from '../topics/prefix.ts'
import type { Match } from '../topics/router.ts'
import type { Publish } from '../wire/decode.ts'
import type { DeadLetters } from './dead-letters.ts'
import type { HandlingTools } from './handler-job.ts'
import { Lifecycle } from './lifecycle.ts'
import { InboundMessage, NO_PARAMS, NO_WILDCARDS } from './message.ts'
import type { NotFoundHandlers } from './not-found.ts'
import { NotFoundJob } from './not-found-job.ts'
import type { Observer } from './observer.ts'
import type { Registry } from './registry.ts'
import type { MqttRoute } from './route.ts'
import { RouteJob, type ReplySink } from './route-job.ts'
import type { Scope } from './scope.ts'

export interface DispatcherOptions {
  namespace: string | undefined
  registry: Registry
  notFound: NotFoundHandlers
  replies: Responder
  deadLetters: DeadLetters
  /** The topic of answers to requests: no message of it is unmatched. */
  replyTopic: string
  /** See `Subscriptions.claim`. */
  claim: (ids: readonly number[]) => boolean
  /** See `Subscriptions.standsFor`. */
  standsFor: (topic: string, ids: readonly number[], retain: boolean) => boolean
}

/** Answers what asks for an answer; see lib/request. */
export interface Responder {
  begin (publish: Publish, all: readonly MqttRoute[], own: readonly MqttRoute[]): ReplySink
}

const NOTHING: Handling = { jobs: [], ackOnReceipt: false }

/** From a received message to the handlers that run for it. */
export class Dispatcher {
  readonly counters = { handled: 0, failed: 0, unmatched: 0 }
  readonly #options: DispatcherOptions
  readonly #tools: HandlingTools

  constructor (options: DispatcherOptions) {
    this.#options = options
    this.#tools = { namespace: options.namespace, counters: this.counters, deadLetters: options.deadLetters }
  }

  /** The jobs of a message: one for each route that matches, or the not-found handler's. */
  dispatch (reception: Reception, observer?: Observer): Handling {
    const { publish } = reception
    // Sent for a filter that an earlier run of a kept session asked for: better handled twice than by nobody.
    if (publish.subscriptionIds !== undefined && !this.#options.claim(publish.subscriptionIds)) publish.subscriptionIds = undefined
    const matches = this.#options.registry.match(publish.topic)
    if (matches.length === 0) return this.#unmatched(reception, observer)
    const reply = publish.properties?.responseTopic === undefined ? undefined : this.#reply(publish, matches)
    const jobs: Job[] = []
    let ackOnReceipt = true
    for (let i = 0; i < matches.length; i++) {
      const { value: route, params, wildcards } = matches[i]!
      if (!concerns(publish, route)) continue
      const { definition } = route
      const topic = definition.absolute ? publish.topic : this.#relative(publish.topic)
      const message = new InboundMessage(publish, topic, definition.scope, route, params, wildcards)
      observer?.matched(route)
      jobs.push(new RouteJob(route, message, reception, this.#tools, reply, observer))
      if (!definition.ackOnReceipt) ackOnReceipt = false
    }
    // The copy is another subscription's: the routes of this topic run for the copies of theirs.
    if (jobs.length === 0) return matches.some(({ value }) => value.subscription.since !== undefined) ? NOTHING : this.#unmatched(reception, observer)
    return { jobs, ackOnReceipt }
  }

  /** Tells the error handler of a message that was too large to be taken in: it has its topic, and no payload. */
  skipped (publish: Publish, scope: Scope, error: Error): void {
    void new Lifecycle(scope).failed(error, new InboundMessage(publish, this.#relative(publish.topic), scope, undefined, NO_PARAMS, NO_WILDCARDS))
  }

  #reply (publish: Publish, matches: ReadonlyArray<Match<MqttRoute>>): ReplySink | undefined {
    // No copy comes for a subscription that the broker does not have, nor of a request of our own for one with noLocal.
    const isOurs = publish.properties?.responseTopic === this.#options.replyTopic
    const all = matches.map(({ value }) => value).filter(route => concerns(publish, route) ||
      ((route.subscription.since !== undefined || route.subscription.inherited) && !(isOurs && route.subscription.options.noLocal)))
    const own = all.filter(route => concerns(publish, route))
    return own.length === 0 ? undefined : this.#options.replies.begin(publish, all, own)
  }

  #relative (absoluteTopic: string): string {
    return stripPrefix(this.#options.registry.prefix, absoluteTopic) ?? absoluteTopic
  }

  #unmatched (reception: Reception, observer: Observer | undefined): Handling {
    const { publish } = reception
    if (publish.topic === this.#options.replyTopic) return NOTHING
    if (publish.subscriptionIds !== undefined && !this.#options.standsFor(publish.topic, publish.subscriptionIds, publish.retain)) return NOTHING
    this.counters.unmatched++
    const notFound = this.#options.notFound.find(publish.topic)
    const message = new InboundMessage(publish, this.#relative(publish.topic), notFound.scope, undefined, NO_PARAMS, NO_WILDCARDS)
    return { jobs: [new NotFoundJob(notFound, message, reception, this.#tools, observer)], ackOnReceipt: false }
  }
}

/**
 * MQTT 5 says for which subscriptions a copy was sent, and a broker may send one copy for each; a route runs for its
 * own. Where nothing is said, one copy stands for all.
 */
function concerns (publish: Publish, route: MqttRoute): boolean {
  const ids = publish.subscriptionIds
  return ids === undefined || ids.includes(route.subscription.id)
}
