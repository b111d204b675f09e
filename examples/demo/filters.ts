import { defineTopic, type TopicDefinition } from '../../lib/topics/index.ts'

/** The filters of the subscribe box, to mark the messages that they asked for also where a route handles them. */
export class Filters {
  readonly #definitions = new Map<string, TopicDefinition | null>()

  add (filter: string): void {
    this.#definitions.set(filter, toDefinition(filter))
  }

  delete (filter: string): void {
    this.#definitions.delete(filter)
  }

  clear (): void {
    this.#definitions.clear()
  }

  list (): string[] {
    return [...this.#definitions.keys()]
  }

  cover (topic: string): boolean {
    for (const definition of this.#definitions.values()) {
      if (definition?.match(topic)) return true
    }
    return false
  }
}

function toDefinition (filter: string): TopicDefinition | null {
  try {
    return defineTopic(filter)
  } catch {
    // What MQTT allows in a filter and a pattern does not mean, such as `<`: such a filter marks nothing.
    return null
  }
}
