import type { FastifyInstance } from 'fastify'
import { FST_MQTT_OPTIONS } from './errors.ts'
import { Facade, type Parts } from './routing/facade.ts'
import type { Scope } from './routing/scope.ts'

/** Members that `app.mqtt` is to have, and the one that would make it a promise. */
const RESERVED = new Set(['dynsec', 'then'])

/**
 * One connection as the Fastify instances see it: each encapsulated instance has its own facade, so that routes know
 * who declared them, and further connections hang on it by their namespace.
 */
export class Mount {
  readonly #parts: Parts
  readonly #first: Mount | undefined
  readonly #root: Scope
  readonly #facades = new WeakMap<FastifyInstance, { scope: Scope, facade: Facade }>()
  /** The class of this connection's facades: a namespace is a getter on it, so it shows on facades made before. */
  readonly #Facade = class extends Facade {}
  readonly #instanceOf = new WeakMap<Facade, FastifyInstance>()

  /** @param first the application's first connection: it was there when instances were made that are older than this one */
  constructor (parts: Parts, root: Scope, first?: Mount) {
    this.#parts = parts
    this.#first = first
    this.#root = root
  }

  /** `app.mqtt` as this instance sees it. */
  facadeOf (instance: FastifyInstance): Facade {
    return this.#enter(instance).facade
  }

  /**
   * An encapsulated instance has been made.
   *
   * @param mqttPrefix what its `register` was told
   */
  registered (instance: FastifyInstance, mqttPrefix: unknown): void {
    this.#enter(instance, mqttPrefix)
  }

  /** @throws `FST_MQTT_OPTIONS` when the name is another connection's, or a member of `app.mqtt` */
  checkNamespace (name: string): void {
    if (name in this.#Facade.prototype || RESERVED.has(name)) throw FST_MQTT_OPTIONS(`namespace: "${name}" is taken`)
  }

  /** Hangs another connection on this one's facades. */
  addNamespace (name: string, other: Mount): void {
    const instanceOf = this.#instanceOf
    Object.defineProperty(this.#Facade.prototype, name, {
      enumerable: true,
      get (this: Facade) { return other.facadeOf(instanceOf.get(this)!) }
    })
  }

  /** What the instance's `register` was told as mqttPrefix, as far as this connection was there. */
  prefixOf (instance: FastifyInstance): string | undefined {
    return this.#facades.get(instance)?.scope.ownPrefix
  }

  #enter (instance: FastifyInstance, mqttPrefix: unknown = this.#first?.prefixOf(instance)): { scope: Scope, facade: Facade } {
    let entry = this.#facades.get(instance)
    if (entry === undefined) {
      const scope = instance === this.#root.instance
        ? this.#root
        // Fastify derives an encapsulated instance from its parent by prototype.
        : this.#enter(Object.getPrototypeOf(instance) as FastifyInstance).scope.derive(instance, mqttPrefix)
      const facade = new this.#Facade(this.#parts, scope)
      this.#instanceOf.set(facade, instance)
      entry = { scope, facade }
      this.#facades.set(instance, entry)
    }
    return entry
  }
}
