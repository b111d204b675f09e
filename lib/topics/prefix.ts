import { checkText, patternError } from './caret.ts'
import { parseShare } from './filter.ts'
import { createPattern, type Level, type Pattern } from './pattern.ts'
import { MAX_LEVELS } from './text.ts'

/*
 * The prefix of a connection. It is plain text, put before every topic, filter and pattern, and
 * taken off at a level boundary. All but normalizePrefix take a normalized prefix; an empty one changes nothing.
 */

const SLASH = 47

/** Without slashes at its ends. */
export function trimSlashes (text: string): string {
  let start = 0
  let end = text.length
  while (start < end && text.charCodeAt(start) === SLASH) start++
  while (end > start && text.charCodeAt(end - 1) === SLASH) end--
  return text.slice(start, end)
}

/**
 * The prefix as the other functions take it: without slashes at its ends.
 *
 * @throws `FST_MQTT_PATTERN` when it is not plain levels: a wildcard, a placeholder, `$share`, NUL, ...
 */
export function normalizePrefix (prefix: string): string {
  const trimmed = typeof prefix === 'string' ? trimSlashes(prefix) : prefix
  if (trimmed === '') return ''
  checkText(trimmed, 'The prefix')
  const wild = trimmed.search(/[+#<>]/)
  if (wild !== -1) throw patternError(trimmed, wild, `A prefix is plain text; take the "${trimmed[wild]!}" out`)
  if (trimmed === '$share' || trimmed.startsWith('$share/')) {
    throw patternError(trimmed, 0, '$share is not part of a prefix; use the option group')
  }
  return trimmed
}

/** Puts the prefix before a topic or a filter; `$share/<group>/` stays outside. */
export function addPrefix (prefix: string, topicOrFilter: string): string {
  if (prefix === '') return topicOrFilter
  const share = parseShare(topicOrFilter)
  if (share !== null) return `$share/${share.group}/${prefix}/${share.filter}`
  return `${prefix}/${topicOrFilter}`
}

/**
 * Takes the prefix off a topic; null when the topic is not inside it. What would leave an empty topic, which MQTT
 * does not know, is not inside: `p` and `p/` under the prefix `p`, although the filter `p/#` matches both. The router
 * matches whole topics, so a route `#` gets these messages nonetheless; show it their whole topic.
 */
export function stripPrefix (prefix: string, topic: string): string | null {
  const { length } = prefix
  if (length === 0) return topic
  if (topic.length <= length + 1 || topic.charCodeAt(length) !== SLASH || !topic.startsWith(prefix)) return null
  return topic.slice(length + 1)
}

/**
 * The pattern for whole topics of a pattern below a prefix.
 *
 * @throws `FST_MQTT_PATTERN` when it passes MQTT's length or 128 levels
 */
export function withPrefix (pattern: Pattern, prefix: string): Pattern {
  if (prefix === '') return pattern
  const text = `${prefix}/${pattern.text}`
  checkText(text, 'The pattern with its prefix')
  const literals = prefix.split('/').map((level): Level => ({ kind: 'literal', text: level }))
  const levels = [...literals, ...pattern.levels]
  if (levels.length > MAX_LEVELS) {
    const fit = levels.slice(0, MAX_LEVELS).reduce((length, level) => length + level.text.length + 1, 0)
    throw patternError(text, fit, `The pattern has more than ${MAX_LEVELS} levels with its prefix; make it shorter`)
  }
  return createPattern(text, levels)
}
