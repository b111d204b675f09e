import { checkText, patternError } from './caret.ts'
import { MAX_LEVELS } from './text.ts'

const SHARE = '$share/'
const DOLLAR = 36

/** The two parts of `$share/<group>/<filter>` (MQTT 5 section 4.8.2). */
export interface Share {
  readonly group: string
  readonly filter: string
}

/** The parts of a shared subscription's filter; null for any other filter. */
export function parseShare (filter: string): Share | null {
  if (!filter.startsWith(SHARE)) return null
  const slash = filter.indexOf('/', SHARE.length)
  if (slash <= SHARE.length || slash === filter.length - 1) return null
  return { group: filter.slice(SHARE.length, slash), filter: filter.slice(slash + 1) }
}

/**
 * Throws unless the text is a topic filter (MQTT 5 section 4.7), `$share/<group>/...` included.
 *
 * @throws `FST_MQTT_PATTERN` with a caret under the place
 */
export function validateFilter (filter: string): void {
  checkText(filter, 'The filter')
  let start = filter.startsWith(SHARE) ? checkShare(filter) : 0
  for (let levels = 1; ; levels++) {
    if (levels > MAX_LEVELS) throw patternError(filter, start, `The filter has more than ${MAX_LEVELS} levels; make it shorter`)
    const slash = filter.indexOf('/', start)
    checkWildcard(filter, start, slash === -1 ? filter.length : slash)
    if (slash === -1) return
    start = slash + 1
  }
}

/**
 * Throws when the level from `start` to `end` holds a wildcard out of its place: it must be the whole level, `#` the
 * last one too.
 *
 * @throws `FST_MQTT_PATTERN`
 */
export function checkWildcard (text: string, start: number, end: number): void {
  const level = text.slice(start, end)
  if (level === '+') return
  if (level === '#') {
    if (end === text.length) return
    throw patternError(text, start, '"#" must be the last level; use "+" for a single one')
  }
  const at = level.search(/[+#]/)
  if (at !== -1) throw patternError(text, start + at, `"${level[at]!}" must fill a whole level; put a "/" on both sides, or take it out`)
}

/** Returns where the filter inside begins. */
function checkShare (filter: string): number {
  const form = 'a shared subscription is written $share/<group>/<filter>'
  const from = SHARE.length
  const slash = filter.indexOf('/', from)
  const group = filter.slice(from, slash === -1 ? filter.length : slash)
  if (group === '') throw patternError(filter, Math.min(from, filter.length), `The group has no name; ${form}`)
  const wildcard = group.search(/[+#]/)
  if (wildcard !== -1) throw patternError(filter, from + wildcard, `A group's name holds no "+" and no "#"; ${form}`)
  if (slash === -1 || slash === filter.length - 1) throw patternError(filter, filter.length, `The filter after the group is missing; ${form}`)
  return slash + 1
}

/**
 * Whether a topic filter matches a topic name (MQTT 5 section 4.7): empty levels count, `#` matches its parent too,
 * and neither wildcard in the first level matches a topic that begins with `$`. Of `$share/<group>/<filter>` the
 * filter counts.
 *
 * @example
 * filterMatches('a/#', 'a') // true
 * filterMatches('#', '$SYS/uptime') // false
 */
export function filterMatches (filter: string, topic: string): boolean {
  const wanted = parseShare(filter)?.filter ?? filter
  if (topic === '' || wanted === '') return false
  if (topic.charCodeAt(0) === DOLLAR && startsWild(wanted)) return false
  let at = 0
  let pos = 0
  for (;;) {
    const levelEnd = endOfLevel(wanted, at)
    const level = wanted.slice(at, levelEnd)
    if (level === '#') return true
    const end = endOfLevel(topic, pos)
    if (level !== '+' && level !== topic.slice(pos, end)) return false
    if (levelEnd === wanted.length) return end === topic.length
    at = levelEnd + 1
    if (end === topic.length) return wanted.slice(at) === '#'
    pos = end + 1
  }
}

/**
 * Whether each topic that `narrow` matches is matched by `wide` too, so that a subscription to both is one too many.
 * Of `$share/<group>/<filter>` the filter counts.
 */
export function filterCovers (wide: string, narrow: string): boolean {
  const a = levelsOf(wide)
  const b = levelsOf(narrow)
  if (isDollar(b[0]!) && isWild(a[0]!)) return false
  let i = 0
  for (; i < a.length && i < b.length && a[i] !== '#' && b[i] !== '#'; i++) {
    if (a[i] !== '+' && a[i] !== b[i]) return false
  }
  if (a[i] === '#') return true
  // `+/#` misses what `#` matches above it, if there is such a topic.
  if (b[i] === '#') return !hasParent(b, i) && a[i] === '+' && a[i + 1] === '#'
  return a.length === b.length
}

/** Whether some topic is matched by both filters. Of `$share/<group>/<filter>` the filter counts. */
export function filtersOverlap (one: string, other: string): boolean {
  const a = levelsOf(one)
  const b = levelsOf(other)
  if ((isDollar(a[0]!) && isWild(b[0]!)) || (isDollar(b[0]!) && isWild(a[0]!))) return false
  let i = 0
  for (; i < a.length && i < b.length && a[i] !== '#' && b[i] !== '#'; i++) {
    if (a[i] !== '+' && b[i] !== '+' && a[i] !== b[i]) return false
  }
  if (a[i] !== '#' && b[i] !== '#') return a.length === b.length
  return (i < a.length && i < b.length) || (hasParent(a, i) && hasParent(b, i))
}

/** Whether there is a topic of the first `count` levels: of none there is not, and an empty one alone is none either. */
function hasParent (levels: readonly string[], count: number): boolean {
  return count > 1 || (count === 1 && levels[0] !== '')
}

function levelsOf (filter: string): string[] {
  return (parseShare(filter)?.filter ?? filter).split('/')
}

function isWild (level: string): boolean {
  return level === '+' || level === '#'
}

function isDollar (level: string): boolean {
  return level.charCodeAt(0) === DOLLAR
}

function startsWild (filter: string): boolean {
  return isWild(filter.slice(0, endOfLevel(filter, 0)))
}

function endOfLevel (text: string, from: number): number {
  const slash = text.indexOf('/', from)
  return slash === -1 ? text.length : slash
}
