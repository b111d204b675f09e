import { MatchCache } from './cache.ts'
import type { Pattern } from './pattern.ts'
import { printTree } from './print.ts'
import { insert, remove, TrieNode, walk, type Leaf } from './trie.ts'

/** One entry that a topic matched. */
export interface Match<T> {
  readonly value: T
  /** The placeholders' values, on an object without prototype, frozen. */
  readonly params: Readonly<Record<string, unknown>>
  /** What each `+` stood for, and the rest for `#`, unless that matched the level above it. Frozen. */
  readonly wildcards: readonly string[]
}

const NO_PARAMS: Readonly<Record<string, unknown>> = Object.freeze(Object.create(null))
const NO_WILDCARDS: readonly string[] = Object.freeze([])
const NO_MATCHES: readonly never[] = Object.freeze([])

/**
 * Finds all patterns that a topic matches (MQTT 5 section 4.7). Patterns are for whole topics,
 * prefix included (`withPrefix`), so that the rule about `$` sees the topic's real first level.
 */
export class Router<T> {
  /** Patterns without placeholders and wildcards: a Map finds them at once. */
  readonly #static = new Map<string, Array<Entry<T>>>()
  readonly #root = new TrieNode<Entry<T>>()
  readonly #entries = new Set<Entry<T>>()
  readonly #cache = new MatchCache<Match<T>>()
  #added = 0

  /** How many entries there are. */
  get size (): number {
    return this.#entries.size
  }

  /** Adds an entry. The same pattern and value may be added more than once. */
  add (pattern: Pattern, value: T): void {
    const entry = new Entry(pattern, value, this.#added++)
    this.#entries.add(entry)
    if (pattern.isStatic) this.#addStatic(pattern.filter, entry)
    else insert(this.#root, pattern.levels, entry)
    this.#cache.clear()
  }

  /** Takes away the first entry with this pattern, by its text, and this value; false when there is none. */
  remove (pattern: Pattern, value: T): boolean {
    const isIt = (entry: Entry<T>): boolean => entry.value === value && entry.pattern.text === pattern.text
    const entry = pattern.isStatic ? this.#removeStatic(pattern.filter, isIt) : remove(this.#root, pattern.levels, isIt)
    if (entry === undefined) return false
    this.#entries.delete(entry)
    this.#cache.clear()
    return true
  }

  /** All entries that the topic matches, in the order added. The answer is remembered and shared: do not change it. */
  match (topic: string): ReadonlyArray<Match<T>> {
    const known = this.#cache.get(topic)
    if (known !== undefined) return known
    const found = this.#find(topic)
    // A converter's object could be changed by who gets it; the next message must get its own.
    if (this.#cache.wants() && found.every(isShareable)) this.#cache.set(topic, found)
    return found
  }

  /** The patterns as a tree; `describe` gives the text that stands behind a pattern in brackets. */
  print (describe?: (value: T) => string): string {
    return printTree(this.#entries, describe)
  }

  #find (topic: string): ReadonlyArray<Hit<T>> {
    if (topic === '') return NO_MATCHES
    const found: Array<Hit<T>> = []
    const entries = this.#static.get(topic)
    if (entries !== undefined) for (const entry of entries) entry.reached(NO_MATCHES, undefined, found)
    walk(this.#root, topic, 0, [], found)
    if (found.length === 0) return NO_MATCHES
    return found.length === 1 ? found : found.sort(byOrder)
  }

  #addStatic (filter: string, entry: Entry<T>): void {
    const entries = this.#static.get(filter)
    if (entries === undefined) this.#static.set(filter, [entry])
    else entries.push(entry)
  }

  #removeStatic (filter: string, isIt: (entry: Entry<T>) => boolean): Entry<T> | undefined {
    const entries = this.#static.get(filter)
    const entry = entries?.find(isIt)
    if (entry === undefined) return undefined
    if (entries!.length === 1) this.#static.delete(filter)
    else this.#static.set(filter, entries!.filter(other => other !== entry))
    return entry
  }
}

/** A match, with what the router needs to know of it. */
class Hit<T> implements Match<T> {
  readonly value: T
  readonly params: Readonly<Record<string, unknown>>
  readonly wildcards: readonly string[]
  readonly order: number

  constructor (value: T, params: Readonly<Record<string, unknown>>, wildcards: readonly string[], order: number) {
    this.value = value
    this.params = params
    this.wildcards = wildcards
    this.order = order
  }
}

/** A pattern and its value, at the end of its way through the trie. */
class Entry<T> implements Leaf {
  readonly pattern: Pattern
  readonly value: T
  readonly #order: number
  /** For what is captured on the way, in order: the placeholder's name, or null for `+`. */
  readonly #captures: ReadonlyArray<string | null>
  readonly #hasParams: boolean
  readonly #hasWildcards: boolean

  constructor (pattern: Pattern, value: T, order: number) {
    this.pattern = pattern
    this.value = value
    this.#order = order
    this.#captures = pattern.levels.flatMap(level => 'name' in level ? [level.name] : level.kind === 'plus' ? [null] : [])
    this.#hasParams = pattern.names.length > 0
    this.#hasWildcards = pattern.hasUnnamedWildcards
  }

  reached (captured: readonly unknown[], rest: string | undefined, out: Array<Hit<T>>): void {
    const params = this.#hasParams ? this.#params(captured) : NO_PARAMS
    const wildcards = this.#hasWildcards ? this.#wildcards(captured, rest) : NO_WILDCARDS
    out.push(new Hit(this.value, params, wildcards, this.#order))
  }

  #params (captured: readonly unknown[]): Readonly<Record<string, unknown>> {
    const captures = this.#captures
    // Object.create(null) makes a dictionary, which takes twice as long to fill and to freeze.
    const params: Record<string, unknown> = Object.setPrototypeOf({}, null)
    for (let i = 0; i < captures.length; i++) {
      const name = captures[i]!
      if (name !== null) params[name] = captured[i]
    }
    return Object.freeze(params)
  }

  #wildcards (captured: readonly unknown[], rest: string | undefined): readonly string[] {
    const captures = this.#captures
    const wildcards: string[] = []
    for (let i = 0; i < captures.length; i++) {
      if (captures[i] === null) wildcards.push(captured[i] as string)
    }
    if (rest !== undefined) wildcards.push(rest)
    return Object.freeze(wildcards)
  }
}

function byOrder (a: { readonly order: number }, b: { readonly order: number }): number {
  return a.order - b.order
}

function isShareable ({ params }: Match<unknown>): boolean {
  for (const name in params) {
    const value = params[name]
    if (typeof value === 'object' ? value !== null : typeof value === 'function') return false
  }
  return true
}
