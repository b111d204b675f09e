import type { RouteShape } from '../lib/bridge/protocol.ts'
import { FST_MQTT_ROUTE_UNKNOWN } from '../lib/errors.ts'
import { buildTopic } from '../lib/topics/build.ts'
import { parsePattern, type Pattern } from '../lib/topics/pattern.ts'

/** The application's routes that have a name, as the main thread has told them. */
export class Routes {
  #shapes = new Map<string, RouteShape>()
  /** Parsed when first asked for. */
  #patterns = new Map<string, Pattern>()

  set (shapes: readonly RouteShape[] = []): void {
    this.#shapes = new Map(shapes.map(shape => [shape.name, shape]))
    this.#patterns = new Map()
  }

  /**
   * A topic of a route, and whether it is absolute already.
   *
   * @throws `FST_MQTT_ROUTE_UNKNOWN`, `FST_MQTT_PARAM`
   */
  topicFor (name: string, params: object | undefined): { topic: string, absolute: boolean } {
    const shape = this.#shapes.get(name)
    if (shape === undefined) {
      const known = [...this.#shapes.keys()].slice(0, 10).join(', ')
      throw FST_MQTT_ROUTE_UNKNOWN(`No route is called "${name}"; known: ${known === '' ? 'none' : known}`)
    }
    if (!shape.portable) {
      throw FST_MQTT_ROUTE_UNKNOWN(`The route "${name}" has converters of the application's own, which a worker does not have; share it by defineTopic() with its converters`)
    }
    let pattern = this.#patterns.get(name)
    if (pattern === undefined) this.#patterns.set(name, pattern = parsePattern(shape.pattern))
    return { topic: buildTopic(pattern, params as Record<string, unknown> | undefined), absolute: shape.absolute }
  }
}
