import { checkText, patternError } from './caret.ts'
import { path, type Codec, type ConverterMap } from './converters.ts'
import { checkWildcard, parseShare } from './filter.ts'
import { parsePlaceholder } from './placeholder.ts'
import { MAX_LEVELS } from './text.ts'

/** One level of a pattern; `text` is how it was written. */
export type Level =
  | { readonly kind: 'literal' | 'plus' | 'hash', readonly text: string }
  | { readonly kind: 'placeholder' | 'path', readonly text: string, readonly name: string, readonly codec: Codec }

/** A pattern, read and checked. */
export interface Pattern {
  /** As it was written. */
  readonly text: string
  readonly levels: readonly Level[]
  /** The MQTT filter to subscribe to. */
  readonly filter: string
  /** The placeholders' names, from left to right. */
  readonly names: readonly string[]
  /** It holds `+` or `#`, so that no topic can be built from it. */
  readonly hasUnnamedWildcards: boolean
  /** It holds neither wildcards nor placeholders: its filter is the one topic that it matches. */
  readonly isStatic: boolean
}

const NO_CONVERTERS: ConverterMap = Object.freeze({})

/**
 * Reads a pattern such as `rooms/<int(min=0):room>/+`.
 *
 * @throws `FST_MQTT_PATTERN` with a caret under the place
 */
export function parsePattern (text: string, converters: ConverterMap = NO_CONVERTERS): Pattern {
  checkText(text, 'The pattern')
  checkNotShared(text)
  const levels: Level[] = []
  const names = new Set<string>()
  for (let start = 0; start <= text.length;) {
    if (levels.length === MAX_LEVELS) throw patternError(text, start, `The pattern has more than ${MAX_LEVELS} levels; make it shorter`)
    const slash = text.indexOf('/', start)
    const end = slash === -1 ? text.length : slash
    levels.push(parseLevel(text, start, end, converters, names))
    start = end + 1
  }
  return createPattern(text, levels)
}

/** A pattern of these levels; `text` is how it is to be shown. */
export function createPattern (text: string, levels: readonly Level[]): Pattern {
  return Object.freeze({
    text,
    levels,
    filter: levels.map(filterLevel).join('/'),
    names: levels.flatMap(level => 'name' in level ? [level.name] : []),
    hasUnnamedWildcards: levels.some(({ kind }) => kind === 'plus' || kind === 'hash'),
    isStatic: levels.every(({ kind }) => kind === 'literal')
  })
}

function parseLevel (pattern: string, start: number, end: number, converters: ConverterMap, names: Set<string>): Level {
  const text = pattern.slice(start, end)
  if (!/[<>]/.test(text)) {
    checkWildcard(pattern, start, end)
    return { kind: text === '+' ? 'plus' : text === '#' ? 'hash' : 'literal', text }
  }
  const { name, nameAt, codec } = parsePlaceholder(pattern, start, end, converters)
  if (names.has(name)) throw patternError(pattern, nameAt, `There are two placeholders named "${name}"; rename one`)
  names.add(name)
  if (codec !== path) return { kind: 'placeholder', text, name, codec }
  if (end !== pattern.length) throw patternError(pattern, start, `${text} takes the rest of the topic, so it must be the last level`)
  return { kind: 'path', text, name, codec }
}

function checkNotShared (text: string): void {
  if (!text.startsWith('$share/')) return
  const group = parseShare(text)?.group ?? 'name'
  throw patternError(text, 0, `A pattern does not say who shares it; take "$share/${group}/" off and give the route the option group: '${group}'`)
}

function filterLevel ({ kind, text }: Level): string {
  switch (kind) {
    case 'placeholder': return '+'
    case 'path': return '#'
    case 'plus':
    case 'hash':
    case 'literal': return text
  }
}
