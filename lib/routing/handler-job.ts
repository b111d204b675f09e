import { setTimeout as pause } from 'node:timers/promises'
import { FST_MQTT_HANDLER_TIMEOUT, logFailure } from '../errors.ts'
import type { Reception } from '../inbox/inbox.ts'
import type { Job, Track } from '../inbox/scheduler.ts'
import { handles, tellFailed, traceHandling, type HandleEvent } from '../tracing.ts'
import type { DeadLetters } from './dead-letters.ts'
import { NO_WAY, type Lifecycle } from './lifecycle.ts'
import type { InboundMessage } from './message.ts'
import type { Observer } from './observer.ts'
import type { Retry } from './retry.ts'
import { isThenable, toError } from './thenable.ts'

/** "Implementation specific error": what an MQTT 5 broker is told of a message whose handler failed. */
const HANDLER_FAILED = 0x83
/** "Payload format invalid": of one that does not fit its schema. */
const PAYLOAD_FORMAT_INVALID = 0x99

/** How handling ended, counted. */
export interface HandlingCounters {
  handled: number
  failed: number
}

/** What all jobs of a connection share. */
export interface HandlingTools {
  readonly namespace: string | undefined
  readonly counters: HandlingCounters
  readonly deadLetters: DeadLetters
}

/** What a route, or the not-found handler, says about the handling of its messages. */
export interface HandlingRules {
  readonly track: Track
  readonly lifecycle: Lifecycle
  /** Milliseconds for each attempt, and as many for hooks and the error handler behind it; 0 is none. */
  readonly handlerTimeout: number
  readonly retry?: Retry | undefined
}

/**
 * Takes one message through its hooks and handlers, whatever they do: throw, reject, take too long. A failure goes through
 * the retries, the onError hooks, the error handler, the dead letter, and only then to the broker; docs/errors-and-retries.md
 * has it as a table.
 */
export abstract class HandlerJob implements Job {
  readonly message: InboundMessage
  protected readonly reception: Reception
  readonly #rules: HandlingRules
  protected readonly tools: HandlingTools
  protected readonly observer: Observer | undefined
  #way = NO_WAY
  /** How many steps before the handlers it has passed: a retry goes on where it failed. */
  #passed = 0
  #retries = 0
  /** The attempt that counts. What an earlier one, whose time was up, still does is nobody's concern. */
  #attempted = 0
  #over = false
  /** Where somebody watches. */
  #event: HandleEvent | undefined

  constructor (rules: HandlingRules, message: InboundMessage, reception: Reception, tools: HandlingTools, observer: Observer | undefined) {
    this.message = message
    this.reception = reception
    this.#rules = rules
    this.tools = tools
    this.observer = observer
  }

  get track (): Track {
    return this.#rules.track
  }

  get key (): string {
    return this.message.absoluteTopic
  }

  /** Runs the handlers in order; gives a promise only when one of them waits for something. */
  protected abstract handle (attempt: number): unknown

  run (): Promise<void> | undefined {
    this.reception.started = true
    this.#way = this.#rules.lifecycle.way
    if (!handles.hasSubscribers) return this.#attemptSafely()
    const { message, tools: { namespace } } = this
    const { route } = message
    this.#event = {
      namespace, message, route: route?.pattern, name: route?.name, attempts: 0, async: false, result: undefined, error: undefined, reasonCode: undefined
    }
    return traceHandling(this.#event, () => this.#attemptSafely())
  }

  keep (): void {
    this.message.keep(this.reception.publish)
  }

  get dropped (): boolean {
    return this.reception.dropped
  }

  protected isCurrent (attempt: number): boolean {
    return attempt === this.#attempted
  }

  /** The handlers have ended. What this throws makes them fail. */
  protected returned (_value: unknown): void {}

  /** The handlers have failed for good, and those who should know have been told. */
  protected gaveUp (_error: Error): void {}

  /** The last place for what has failed. Resolves with false when it could not get there because the application closes. */
  protected bury (_error: Error): Promise<boolean> | undefined { return undefined }

  /** Whatever happens here, the message gets its acknowledgement, and what is behind it its turn. */
  #attemptSafely (): Promise<void> | undefined {
    try {
      return this.#attempt()?.then(undefined, thrown => this.#broke(thrown))
    } catch (thrown) {
      this.#broke(thrown)
      return undefined
    }
  }

  #broke (thrown: unknown): void {
    logFailure(this.message.log, thrown, 'MQTT handling broke')
    this.#settle(HANDLER_FAILED)
  }

  #attempt (): Promise<void> | undefined {
    const attempt = ++this.#attempted
    if (this.#event !== undefined) this.#event.attempts++
    let result: unknown
    try {
      result = this.#proceed(attempt)
    } catch (error) {
      return this.#failed(error)
    }
    if (isThenable(result)) return this.#limited(result, 'handler').then(value => this.#succeeded(value), error => this.#failed(error))
    return this.#succeeded(result)
  }

  #proceed (attempt: number): unknown {
    const { before } = this.#way
    const { instance } = this.#rules.lifecycle.scope
    while (this.#passed < before.length) {
      const result = before[this.#passed]!.call(instance, this.message)
      if (isThenable(result)) {
        return Promise.resolve(result).then(() => {
          if (!this.isCurrent(attempt)) return undefined
          this.#passed++
          return this.#proceed(attempt)
        })
      }
      this.#passed++
    }
    return this.handle(attempt)
  }

  #succeeded (value: unknown): Promise<void> | undefined {
    try {
      this.returned(value)
    } catch (error) {
      // Called again, the handlers would hardly return anything else.
      return this.#failed(error, true)
    }
    this.tools.counters.handled++
    if (this.#event !== undefined) this.#event.result = value
    const telling = this.#rules.lifecycle.handled(this.message, value, this.#way)
    if (telling === undefined) {
      this.#settle(0)
      return undefined
    }
    return this.#limited(telling, 'onHandled hook').then(noop, late => this.#late(late)).then(() => this.#settle(0))
  }

  #failed (thrown: unknown, final = false): Promise<void> | undefined {
    if (this.message.closing) {
      this.#interrupt()
      return undefined
    }
    const isInvalid = this.message.isInvalid(thrown)
    const { retry } = this.#rules
    if (retry !== undefined && this.#retries < retry.attempts && !isInvalid && !final) return this.#again(retry, thrown)
    this.#attempted++
    this.tools.counters.failed++
    const error = toError(thrown)
    if (this.#event !== undefined) tellFailed(this.#event, error)
    this.observer?.failed(error)
    const reasonCode = isInvalid ? PAYLOAD_FORMAT_INVALID : HANDLER_FAILED
    const telling = this.#rules.lifecycle.failed(error, this.message, this.#way)
    if (telling === undefined) return this.#giveUp(error, reasonCode)
    // One that never ends would hold the acknowledgement, and with it all later ones.
    return this.#limited(telling, 'error handler').then(noop, late => this.#late(late)).then(() => this.#giveUp(error, reasonCode))
  }

  /** Waits with its place in the order kept: what is behind it on the same topic waits too. */
  async #again (retry: Retry, thrown: unknown): Promise<void> {
    const wait = retry.wait(this.#retries++)
    logFailure(this.message.log, toError(thrown), `MQTT handler failed, trying again in ${wait} ms (${this.#retries} of ${retry.attempts})`, 'warn')
    this.message.renew()
    try {
      await pause(wait, undefined, { signal: this.message.signal })
    } catch {
      this.#interrupt()
      return
    }
    await this.#attempt()
  }

  #giveUp (error: Error, reasonCode: number): Promise<void> | undefined {
    this.gaveUp(error)
    const burying = this.bury(error)
    if (burying === undefined) {
      this.#settle(reasonCode)
      return undefined
    }
    return burying.then(done => {
      if (done) this.#settle(reasonCode)
      else this.#interrupt()
    })
  }

  /** The application closes: the message stays unacknowledged, so that a kept session gets it again. */
  #interrupt (): void {
    if (this.#over) return
    this.#over = true
    this.message.finish()
    this.reception.interrupted()
  }

  #late (error: Error): void {
    logFailure(this.message.log, error, 'MQTT hook or error handler took too long')
  }

  #limited (running: PromiseLike<unknown>, who: string): Promise<unknown> {
    const limit = this.#rules.handlerTimeout
    // What a thenable resolves with may be one as well.
    const whole = Promise.resolve(running)
    if (limit === 0) return whole
    const { scope } = this.#rules.lifecycle
    return new Promise((resolve, reject) => {
      const timer = scope.startTimer(() => {
        const error = FST_MQTT_HANDLER_TIMEOUT(`The ${who} of "${this.message.route?.pattern ?? this.message.topic}" took longer than ${limit} ms (option handlerTimeout)`)
        this.message.abort(error)
        reject(error)
      }, limit)
      whole.then(resolve, reject).finally(() => { scope.stopTimer(timer) })
    })
  }

  #settle (reasonCode: number): void {
    if (this.#over) return
    this.#over = true
    if (this.#event !== undefined) this.#event.reasonCode = reasonCode
    this.message.finish()
    this.reception.settled(reasonCode)
  }
}

function noop (): void {}
