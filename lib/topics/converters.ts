/**
 * The value type of each converter: what `message.params.n` of `<int:n>` is. Add your own by declaration merging, in
 * one program always under the same module name (`fastify-multimqtt` or `fastify-multimqtt/topics`): of two TypeScript
 * heeds one.
 *
 * @example
 * declare module 'fastify-multimqtt' {
 *   interface Converters { hex: number }
 * }
 */
export interface Converters {
  /** One level that is not empty; `str(length=4)`, `str(minlength=2,maxlength=8)` count Unicode code points. */
  str: string
  /** `-?[0-9]+` within safe integers; `int(min=0,max=255)`. `-0` is 0. */
  int: number
  /** `-?[0-9]+(\.[0-9]+)?`, finite; `float(min=-1.5,max=2)`. `-0` is 0. */
  float: number
  /** 8-4-4-4-12 hexadecimal digits of either case, as received. */
  uuid: string
  /** The rest of the topic, not empty, with its `/`; the last level of a pattern only. */
  path: string
}

/**
 * A placeholder of your own, for `converters: { hex: { ... } }` and `<hex:name>`.
 *
 * `parse` and `format` are each other's inverse and have no side effects: what a topic was parsed to is remembered.
 * `pattern` sees whatever a publisher sends, so keep it free of nested quantifiers.
 */
export interface Converter<T = unknown> {
  /** Must match the whole level, anchored or not; the flags g, m and y have no effect. An empty level never matches. */
  readonly pattern: RegExp
  /** The value of a level that `pattern` matches. Throwing, undefined and NaN all mean that it does not match after all. */
  parse (text: string): T
  /** The level for a value; one level, without `/`, `+`, `#` and NUL. */
  format (value: T): string
}

/** Custom converters by the name that patterns use. */
export type ConverterMap = Readonly<Record<string, Converter>>

/** A converter with its arguments, ready to run. */
export interface Codec {
  /** Codecs with the same `id` and `source` do the same, so that routes can share their work. */
  readonly id: string
  /** The custom converter behind it; undefined for a built-in. */
  readonly source: Converter | undefined
  /** The value of a level; undefined when it does not convert. Never throws. */
  readonly parse: (text: string) => unknown
  /** A level for the value, yet to be checked by parsing it back; undefined when there is none. */
  readonly format: (value: unknown) => unknown
}

/** The least and the greatest value that match, both included. */
export interface Range {
  readonly min: number
  readonly max: number
}

const ZERO = 48
const NINE = 57
const MINUS = 45
const DOT = 46
const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/i

/** Any level that is not empty. */
export const str: Codec = builtIn('str', text => text === '' ? undefined : text, asText)

/** The rest of a topic; that it may hold `/` is known to those who cut the topic up. */
export const path: Codec = { ...str, id: 'path' }

export const uuid: Codec = builtIn('uuid', text => text.length === 36 && UUID.test(text) ? text : undefined, asText)

/** A text of so many code points. */
export function strOf ({ min, max }: Range): Codec {
  return builtIn(`str(${min},${max})`, text => {
    const length = codePoints(text, max)
    return length >= min && length <= max ? text : undefined
  }, asText)
}

export function int ({ min, max }: Range): Codec {
  return builtIn(`int(${min},${max})`, text => {
    const value = readInt(text)
    return value !== undefined && value >= min && value <= max ? value : undefined
  }, decimal)
}

export function float ({ min, max }: Range): Codec {
  return builtIn(`float(${min},${max})`, text => {
    const value = readFloat(text)
    return value !== undefined && value >= min && value <= max ? value : undefined
  }, decimal)
}

/** One of the listed levels. */
export function any (items: readonly string[]): Codec {
  const listed = new Set(items)
  return builtIn(`any(${items.join(',')})`, text => listed.has(text) ? text : undefined, asText)
}

/** A converter of the user's, made safe: it never throws, whatever a publisher sends. */
export function custom (name: string, source: Converter): Codec {
  const { pattern } = source
  // A copy without g and y keeps no position between calls; without m its anchors are those of the level.
  const whole = new RegExp(`^(?:${pattern.source})$`, pattern.flags.replace(/[gmy]/g, ''))
  return {
    id: name,
    source,
    parse (text) {
      if (text === '') return undefined
      try {
        // Inside: a regular expression can run out of stack.
        if (!whole.test(text)) return undefined
        const value = source.parse(text)
        return Number.isNaN(value) ? undefined : value
      } catch {
        return undefined
      }
    },
    format: value => source.format(value)
  }
}

/** `-?[0-9]+` within safe integers. The sign of -0 is dropped: `n/-0` and `n/0` are the same to a handler. */
export function readInt (text: string): number | undefined {
  const start = text.charCodeAt(0) === MINUS ? 1 : 0
  const end = skipDigits(text, start)
  if (end === start || end !== text.length) return undefined
  const value = Number(text)
  return Number.isSafeInteger(value) ? value + 0 : undefined
}

/** `-?[0-9]+(\.[0-9]+)?`, finite. The sign of -0 is dropped. */
export function readFloat (text: string): number | undefined {
  const start = text.charCodeAt(0) === MINUS ? 1 : 0
  let end = skipDigits(text, start)
  if (end === start) return undefined
  if (end < text.length) {
    if (text.charCodeAt(end) !== DOT) return undefined
    const fraction = end + 1
    end = skipDigits(text, fraction)
    if (end === fraction || end !== text.length) return undefined
  }
  const value = Number(text)
  return Number.isFinite(value) ? value + 0 : undefined
}

function builtIn (id: string, parse: Codec['parse'], format: Codec['format']): Codec {
  return { id, source: undefined, parse, format }
}

function asText (value: unknown): unknown {
  return typeof value === 'string' ? value : undefined
}

/** A number in digits alone: 1e21 and 1e-7 have no exponent in a topic. */
function decimal (value: unknown): string | undefined {
  if (typeof value !== 'number') return undefined
  const text = String(value)
  const e = text.indexOf('e')
  if (e === -1) return text
  const sign = value < 0 ? '-' : ''
  const digits = text.slice(sign.length, e).replace('.', '')
  const exponent = Number(text.slice(e + 1))
  return exponent < 0
    ? `${sign}0.${'0'.repeat(-exponent - 1)}${digits}`
    : `${sign}${digits}${'0'.repeat(exponent + 1 - digits.length)}`
}

function skipDigits (text: string, from: number): number {
  let i = from
  for (; i < text.length; i++) {
    const unit = text.charCodeAt(i)
    if (unit < ZERO || unit > NINE) break
  }
  return i
}

/** Counts no further than one past `max`. */
function codePoints (text: string, max: number): number {
  let count = 0
  for (let i = 0; i < text.length && count <= max; count++) {
    i += text.codePointAt(i)! > 0xffff ? 2 : 1
  }
  return count
}
