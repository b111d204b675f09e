import type { Codec } from './converters.ts'
import { FST_MQTT_PARAM, type CodedError } from './errors.ts'
import type { Level, Pattern } from './pattern.ts'
import { loneSurrogate, overflow, unwelcomeCharacter } from './text.ts'

type Placeholder = Extract<Level, { readonly codec: Codec }>

/** How much of a value an error shows. */
const SHOWN = 40

/**
 * Builds the topic that the pattern matches with these values. Each must be what its placeholder would read back, so
 * no value can leave its level; -0 counts as 0.
 *
 * @throws `FST_MQTT_PARAM` naming the parameter
 */
export function buildTopic (pattern: Pattern, params: Readonly<Record<string, unknown>> = {}): string {
  if (pattern.hasUnnamedWildcards) {
    throw new FST_MQTT_PARAM(`No topic can be built from "${pattern.text}": it has an unnamed wildcard; use <name> for "+" and <path:name> for "#"`)
  }
  if (typeof params !== 'object' || params === null) {
    throw new FST_MQTT_PARAM(`The parameters of "${pattern.text}" must be an object, not ${describe(params)}`)
  }
  checkNames(pattern, params)
  const texts = pattern.levels.map((level, i) => 'codec' in level ? buildLevel(pattern, level, params, i === 0) : level.text)
  const topic = texts.join('/')
  if (overflow(topic) !== -1) throw tooLong(pattern, texts)
  return topic
}

function checkNames ({ names, text }: Pattern, params: object): void {
  for (const name of names) {
    if (!Object.hasOwn(params, name)) throw new FST_MQTT_PARAM(`The parameter "${name}" of "${text}" is missing`)
  }
  for (const name of Object.keys(params)) {
    if (names.includes(name)) continue
    const known = names.length > 0 ? `known are ${names.join(', ')}` : 'there are none'
    throw new FST_MQTT_PARAM(`"${text}" has no parameter "${name}"; ${known}`)
  }
}

function buildLevel (pattern: Pattern, level: Placeholder, params: Readonly<Record<string, unknown>>, isFirst: boolean): string {
  const value = params[level.name]
  const text = format(pattern, level, value)
  const fault = faultOf(text, level.kind === 'path', isFirst)
  if (fault !== null) throw refuse(pattern, level, value, fault)
  const back = level.codec.parse(text as string)
  if (!isSame(level.codec, value, back, text as string)) throw refuse(pattern, level, value, `${level.text} would not read it back`)
  return text as string
}

function format (pattern: Pattern, { name, codec }: Placeholder, value: unknown): unknown {
  try {
    return codec.format(value)
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error)
    throw new FST_MQTT_PARAM(`The parameter "${name}" of "${pattern.text}": its converter cannot format ${describe(value)}: ${why}`)
  }
}

function faultOf (text: unknown, isPath: boolean, isFirst: boolean): string | null {
  if (text === undefined) return 'it is of the wrong type'
  if (typeof text !== 'string') return 'its converter does not format it as a string'
  if (text === '') return 'it is empty'
  if (!isPath && text.includes('/')) return 'it holds "/", and a level does not'
  const bad = /[+#\0]/.exec(text)
  if (bad !== null) return `it holds ${bad[0] === '\0' ? 'NUL' : `"${bad[0]}"`}, which a topic never does`
  if (loneSurrogate(text) !== -1) return 'it holds a lone surrogate, which UTF-8 cannot express'
  const odd = unwelcomeCharacter(text)
  if (odd !== null) return `it holds ${odd}, over which brokers end the connection`
  if (isFirst && text.startsWith('$')) return 'a topic that begins with "$" matches no placeholder in its first level'
  return null
}

/** Objects are the same when they have the same text: a custom converter makes a new one each time. */
function isSame (codec: Codec, value: unknown, back: unknown, text: string): boolean {
  if (back === value) return true
  if (typeof value !== 'object' || typeof back !== 'object' || back === null) return false
  try {
    return codec.format(back) === text
  } catch {
    return false
  }
}

function refuse (pattern: Pattern, { name }: Placeholder, value: unknown, fault: string): CodedError {
  return new FST_MQTT_PARAM(`The parameter "${name}" of "${pattern.text}" cannot be ${describe(value)}: ${fault}`)
}

/** The longest value is the one to blame. */
function tooLong ({ text, levels }: Pattern, texts: readonly string[]): CodedError {
  let longest = { name: '', length: 0 }
  levels.forEach((level, i) => {
    if ('name' in level && texts[i]!.length > longest.length) longest = { name: level.name, length: texts[i]!.length }
  })
  return new FST_MQTT_PARAM(`The parameter "${longest.name}" of "${text}" makes the topic longer than 65 535 bytes`)
}

/** A value for an error's text; nothing of the value's own is called. */
function describe (value: unknown): string {
  if (typeof value === 'string') return JSON.stringify(value.length > SHOWN ? `${value.slice(0, SHOWN)}…` : value)
  if (typeof value === 'bigint') return 'a bigint'
  if (typeof value === 'number' || typeof value === 'boolean' || value === undefined || value === null) return String(value)
  return Array.isArray(value) ? 'an array' : typeof value === 'function' ? 'a function' : `a${typeof value === 'object' ? 'n' : ''} ${typeof value}`
}
