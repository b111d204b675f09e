import { Track } from '../inbox/scheduler.ts'
import type { Converter } from '../topics/converters.ts'
import { parsePattern } from '../topics/pattern.ts'
import { withPrefix } from '../topics/prefix.ts'
import { Router } from '../topics/router.ts'
import type { Handler } from '../types/index.ts'
import type { HandlingRules } from './handler-job.ts'
import { Lifecycle } from './lifecycle.ts'
import type { Scope } from './scope.ts'

export interface NotFoundOptions {
  readonly prefix: string
  readonly converters: Readonly<Record<string, Converter>> | undefined
  readonly concurrency: number
  readonly order: 'topic' | 'none'
  readonly handlerTimeout: number
}

/** The handler of messages that no route matched. */
export interface NotFound {
  readonly scope: Scope
  readonly handler: Handler
  readonly rules: HandlingRules
  /** Of its scope's mqttPrefix: the more, the more it is meant for what is below. */
  readonly levels: number
}

/** One handler for the whole connection, and one for what is below each `mqttPrefix`, as Fastify has them for URLs. */
export class NotFoundHandlers {
  readonly #options: NotFoundOptions
  readonly #byPrefix = new Map<string, NotFound>()
  readonly #router = new Router<string>()
  #whole: NotFound

  constructor (scope: Scope, options: NotFoundOptions) {
    this.#options = options
    this.#whole = this.#create(scope, message => message.log.debug('MQTT message without a route'), 0)
  }

  /** The one set last counts. */
  set (scope: Scope, handler: Handler): void {
    const { mqttPrefix } = scope
    if (mqttPrefix === '') {
      this.#whole = this.#create(scope, handler, 0)
      return
    }
    const { prefix, converters } = this.#options
    const pattern = parsePattern(`${mqttPrefix}/#`, converters)
    if (!this.#byPrefix.has(mqttPrefix)) this.#router.add(withPrefix(pattern, prefix), mqttPrefix)
    this.#byPrefix.set(mqttPrefix, this.#create(scope, handler, pattern.levels.length))
  }

  /** The one for this topic, as it came over the wire. */
  find (absoluteTopic: string): NotFound {
    let found = this.#whole
    for (const { value } of this.#router.match(absoluteTopic)) {
      const candidate = this.#byPrefix.get(value)!
      if (candidate.levels > found.levels) found = candidate
    }
    return found
  }

  #create (scope: Scope, handler: Handler, levels: number): NotFound {
    const rules = { track: new Track(this.#options), lifecycle: new Lifecycle(scope), handlerTimeout: this.#options.handlerTimeout }
    return { scope, handler, rules, levels }
  }
}
