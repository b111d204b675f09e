/*
 * MQTT 5 section 4.7 and contract section 3 in the most obvious way, to hold the real matchers against.
 */

export interface ReferenceMatch {
  params: Record<string, unknown>
  wildcards: string[]
}

/** What a pattern makes of a topic; null when it does not match. A filter is a pattern without placeholders. */
export function referenceMatch (pattern: string, topic: string): ReferenceMatch | null {
  if (topic === '') return null
  if (topic.startsWith('$') && /^[+#<]/.test(pattern)) return null
  const levels = pattern.split('/')
  const given = topic.split('/')
  const match: ReferenceMatch = { params: {}, wildcards: [] }
  for (const [i, level] of levels.entries()) {
    if (level === '#') {
      if (i < given.length) match.wildcards.push(given.slice(i).join('/'))
      return match
    }
    if (i >= given.length) return null
    const placeholder = /^<(?:(\w+)(?:\((.*)\))?:)?(\w+)>$/.exec(level)
    if (placeholder !== null) {
      const [, converter = 'str', args = '', name] = placeholder
      const value = convert(converter, args, converter === 'path' ? given.slice(i).join('/') : given[i]!)
      if (value === undefined) return null
      match.params[name!] = value
      if (converter === 'path') return match
    } else if (level === '+') {
      match.wildcards.push(given[i]!)
    } else if (level !== given[i]) {
      return null
    }
    // Before the length is compared: `#` matches its parent too.
    if (i === given.length - 1 && levels[i + 1] === '#') return match
  }
  return levels.length === given.length ? match : null
}

export function referenceMatches (filter: string, topic: string): boolean {
  return referenceMatch(filter.replace(/^\$share\/[^/]+\//, ''), topic) !== null
}

function convert (converter: string, args: string, text: string): unknown {
  if (text === '') return undefined
  const limits = new Map(args.split(',').map(arg => arg.split('=') as [string, string]))
  const limit = (name: string, otherwise: number): number => Number(limits.get(name) ?? otherwise)
  switch (converter) {
    case 'path': return text
    case 'str': {
      const length = Array.from(text).length
      const exact = limit('length', length)
      return length === exact && length >= limit('minlength', 1) && length <= limit('maxlength', Infinity) ? text : undefined
    }
    case 'uuid': return /^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$/.test(text) ? text : undefined
    case 'any': return args.split(',').includes(text) ? text : undefined
    case 'int':
    case 'float': {
      const form = converter === 'int' ? /^-?[0-9]+$/ : /^-?[0-9]+(\.[0-9]+)?$/
      const value = Number(text)
      const fits = converter === 'int' ? Number.isSafeInteger(value) : Number.isFinite(value)
      if (!form.test(text) || !fits || value < limit('min', -Infinity) || value > limit('max', Infinity)) return undefined
      return value === 0 ? 0 : value
    }
    default: throw new Error(`the reference does not know ${converter}`)
  }
}
