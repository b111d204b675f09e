import type { FastifyInstance } from 'fastify'
import { FST_MQTT_OPTIONS } from '../errors.ts'
import type { MqttHooks } from '../types/index.ts'
import { isThenable } from './thenable.ts'

/** What `addHook` knows. */
export type HookName = keyof MqttHooks

const NAMES: ReadonlySet<string> = new Set<HookName>([
  'onConnect', 'onDisconnect', 'onSubscribe', 'onUnsubscribe', 'onMessage', 'preHandler', 'onHandled', 'onError', 'onPublish', 'onPublished'
])
const NONE: readonly never[] = Object.freeze([])

/** A hook and the instance that added it. */
export interface Added<N extends HookName> {
  readonly instance: FastifyInstance
  readonly hook: MqttHooks[N]
}

/** What all scopes of a connection share. */
interface Shared {
  /** Counts changes: what was worked out from hooks is worked out anew when it differs. */
  clock: number
  readonly added: Array<{ readonly name: HookName } & Added<HookName>>
}

/** The hooks of one scope, and those that it has from the scopes around it. */
export class Hooks {
  readonly #parent: Hooks | undefined
  readonly #shared: Shared
  readonly #own = new Map<HookName, ReadonlyArray<MqttHooks[HookName]>>()

  constructor (parent?: Hooks) {
    this.#parent = parent
    this.#shared = parent === undefined ? { clock: 0, added: [] } : parent.#shared
  }

  /** Goes up with every hook that is added, in whatever scope. */
  get clock (): number {
    return this.#shared.clock
  }

  /** @throws `FST_MQTT_OPTIONS` */
  add<N extends HookName> (name: N, hook: MqttHooks[N], instance: FastifyInstance): void {
    if (!NAMES.has(name)) throw FST_MQTT_OPTIONS(`addHook: there is no hook ${typeof name === 'string' ? `"${String(name)}"` : 'that is no string'} (known: ${[...NAMES].join(', ')})`)
    if (typeof hook !== 'function') throw FST_MQTT_OPTIONS(`addHook: the hook ${name} must be a function`)
    this.#own.set(name, [...this.#own.get(name) ?? NONE, hook])
    this.#shared.added.push({ name, hook, instance })
    this.#shared.clock++
  }

  /** Of the scopes around this one first. */
  get<N extends HookName> (name: N): ReadonlyArray<MqttHooks[N]> {
    return [...this.#parent?.get(name) ?? NONE, ...this.#own.get(name) ?? NONE] as ReadonlyArray<MqttHooks[N]>
  }

  /** Of every scope, in the order added: what happens to the connection happens to all. */
  everywhere<N extends HookName> (name: N): ReadonlyArray<Added<N>> {
    return this.#shared.added.filter(added => added.name === name) as unknown as ReadonlyArray<Added<N>>
  }
}

/** Calls hooks for something that has happened already, whatever they do; nobody waits for them. */
export function tellHooks<N extends HookName> (hooks: ReadonlyArray<Added<N>>, args: Parameters<MqttHooks[N]>, onFailed: (error: unknown) => void): void {
  for (const { hook, instance } of hooks) {
    try {
      const result: unknown = (hook as (this: FastifyInstance, ...args: unknown[]) => unknown).apply(instance, args)
      if (isThenable(result)) result.then(undefined, onFailed)
    } catch (error) {
      onFailed(error)
    }
  }
}
