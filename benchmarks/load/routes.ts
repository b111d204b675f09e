/** As many routes as there are asked for, and topics that they match. */

/** A shape of route; `{}` is what tells one group of routes from the next. */
interface Shape {
  readonly pattern: string
  /** A topic that the pattern matches, for a number. */
  readonly topic: (group: number, n: number) => string
}

const SHAPES: readonly Shape[] = [
  { pattern: 'plant{}/machine/<int:machine>/temperature', topic: (group, n) => `plant${group}/machine/${n}/temperature` },
  { pattern: 'plant{}/sensor/<uuid:id>', topic: (group, n) => `plant${group}/sensor/${uuid(n)}` },
  { pattern: 'home{}/<str:room>/<float:target>/set', topic: (group, n) => `home${group}/room${n}/${n % 40}.5/set` },
  { pattern: 'fleet{}/<int:vehicle>/<any(front,rear):door>', topic: (group, n) => `fleet${group}/${n}/${n % 2 === 0 ? 'front' : 'rear'}` }
]

/** Every tenth topic matches nothing. */
const UNMATCHED = 10

/** Patterns, all with placeholders, each for other topics than the others. */
export function patterns (count: number): string[] {
  return Array.from({ length: count }, (_, i) => SHAPES[i % SHAPES.length]!.pattern.replace('{}', String(Math.floor(i / SHAPES.length))))
}

/** The same as an MQTT filter. */
export function filterOf (pattern: string): string {
  return pattern.replace(/<[^>]+>/g, '+')
}

/** Topics over all routes, all different as far as they can be, and how many of them match. */
export function topicsFor (routes: number, count: number): { topics: string[], matching: number } {
  const topics: string[] = []
  let matching = 0
  // Numbers that follow no order, and are the same at each run.
  let state = 1
  for (let n = 0; n < count; n++) {
    state = Math.imul(state, 1_664_525) + 1_013_904_223 >>> 0
    const route = (state >>> 8) % routes
    const topic = SHAPES[route % SHAPES.length]!.topic(Math.floor(route / SHAPES.length), n)
    if (n % UNMATCHED === 0) {
      topics.push(`no${topic}`)
    } else {
      topics.push(topic)
      matching++
    }
  }
  return { topics, matching }
}

function uuid (n: number): string {
  return `6ba7b810-9dad-11d1-80b4-${n.toString(16).padStart(12, '0')}`
}
