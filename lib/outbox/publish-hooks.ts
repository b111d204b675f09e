import type { FastifyInstance } from 'fastify'
import type { MqttHooks, OnPublishedHook, OnPublishHook, PublishResult } from '../types/index.ts'
import type { Delivery } from './delivery.ts'
import { callHook, type HookCall } from './nesting.ts'
import type { Packet } from './packet.ts'
import type { Source } from './source.ts'

/** Whose hooks they are: a `Scope` of routing is one. */
export interface PublishScope {
  readonly instance: FastifyInstance
  readonly hooks: {
    /** Goes up with every hook that is added. */
    readonly clock: number
    get<N extends keyof MqttHooks> (name: N): ReadonlyArray<MqttHooks[N]>
  }
}

const known = new WeakMap<PublishScope, PublishHooks>()
const NONE: ReadonlySet<object> = new Set()

/** The hooks that the publishes of a scope pass. Looked up when hooks change, not for each publish. */
export class PublishHooks {
  readonly #scope: PublishScope
  #clock = -1
  #onPublish: readonly OnPublishHook[] = []
  #onPublished: readonly OnPublishedHook[] = []

  private constructor (scope: PublishScope) {
    this.#scope = scope
  }

  static of (scope: PublishScope): PublishHooks {
    let hooks = known.get(scope)
    if (hooks === undefined) known.set(scope, hooks = new PublishHooks(scope))
    return hooks
  }

  /** True when there are any. */
  get active (): boolean {
    if (this.#clock !== this.#scope.hooks.clock) this.#refresh()
    return this.#onPublish.length > 0 || this.#onPublished.length > 0
  }

  /** @param call the hook that publishes it, if one does */
  begin (packet: Packet, call?: HookCall): Passage {
    return new Passage(packet, this.#scope.instance, this.#onPublish, this.#onPublished, call)
  }

  #refresh (): void {
    const { hooks } = this.#scope
    this.#clock = hooks.clock
    this.#onPublish = hooks.get('onPublish')
    this.#onPublished = hooks.get('onPublished')
  }
}

/** One publish on its way through its hooks. */
export class Passage {
  readonly packet: Packet
  /** The call of a hook that this publish was made in. */
  readonly outer: HookCall | undefined
  readonly #instance: FastifyInstance
  readonly #onPublish: readonly OnPublishHook[]
  readonly #onPublished: readonly OnPublishedHook[]
  /** Hooks that this publish comes from, by whatever way. */
  readonly #passed: ReadonlySet<object>
  #source: Source | undefined
  #delivery: Delivery | undefined

  constructor (packet: Packet, instance: FastifyInstance, onPublish: readonly OnPublishHook[], onPublished: readonly OnPublishedHook[], outer: HookCall | undefined) {
    this.packet = packet
    this.outer = outer
    this.#instance = instance
    this.#onPublish = onPublish
    this.#onPublished = onPublished
    this.#passed = outer === undefined ? NONE : new Set([...outer.passage.#passed, outer.hook])
  }

  /** True when somebody wants to know how it ends. */
  get tells (): boolean {
    return this.#onPublished.length > 0
  }

  /** Calls the onPublish hooks; gives a promise only when one of them waits, and throws what they throw. */
  before (): Promise<void> | undefined {
    const waiting = this.#before(0)
    // Whoever waits for it may fail before it does.
    waiting?.catch(noop)
    return waiting
  }

  /** The publish waits for its hooks, in the queue of this source. */
  hold (source: Source, delivery: Delivery): void {
    this.#source = source
    this.#delivery = delivery
  }

  /** True while it waits there. */
  holds (source: Source): boolean {
    return this.#source === source && this.#delivery!.state === 'held'
  }

  /** Calls the onPublished hooks, behind whoever waits for the publish. Never throws. */
  after (result: PublishResult): void {
    queueMicrotask(() => { void this.#after(result) })
  }

  #before (from: number): Promise<void> | undefined {
    for (let i = from; i < this.#onPublish.length; i++) {
      // Given up meanwhile: what further hooks would make of it is sent to nobody.
      if (this.#delivery?.state === 'settled') return undefined
      const waiting = this.#call(this.#onPublish[i]!, [this.packet])
      if (waiting !== undefined) return waiting.then(() => this.#before(i + 1))
    }
    return undefined
  }

  async #after (result: PublishResult): Promise<void> {
    for (const hook of this.#onPublished) {
      try {
        const waiting = this.#call(hook, [this.packet, result])
        if (waiting !== undefined) await waiting
      } catch (error) {
        this.#failed(error)
      }
    }
  }

  #call<A extends unknown[]> (hook: (this: FastifyInstance, ...args: A) => unknown, args: A): Promise<unknown> | undefined {
    return this.#passed.has(hook) ? undefined : callHook(hook, this, () => hook.apply(this.#instance, args))
  }

  #failed (error: unknown): void {
    try {
      this.#instance.log.error({ err: error }, 'MQTT hook onPublished failed')
    } catch {
      // Logging looks at what was thrown, and that may throw, too.
    }
  }
}

function noop (): void {}
