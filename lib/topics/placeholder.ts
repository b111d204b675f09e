import { patternError } from './caret.ts'
import {
  any, custom, float, int, path, readFloat, readInt, str, strOf, uuid, type Codec, type Converter, type ConverterMap, type Range
} from './converters.ts'

/** A placeholder out of a pattern: `<int(min=0):n>`. */
export interface Placeholder {
  readonly name: string
  /** Where the name stands in the pattern. */
  readonly nameAt: number
  readonly codec: Codec
}

/** A piece of a pattern and where it stands. */
interface Piece {
  readonly text: string
  readonly at: number
}

interface BuiltIn {
  readonly takesArguments: boolean
  readonly build: (args: readonly Piece[], pattern: string, at: number) => Codec
}

const IDENTIFIER = /^[\p{ID_Start}$_][\p{ID_Continue}$]*$/u

const BUILT_INS: ReadonlyMap<string, BuiltIn> = new Map([
  ['str', { takesArguments: true, build: buildStr }],
  ['int', { takesArguments: true, build: (args, pattern) => int(range(args, pattern, integers)) }],
  ['float', { takesArguments: true, build: (args, pattern) => float(range(args, pattern, decimals)) }],
  ['uuid', { takesArguments: false, build: () => uuid }],
  ['any', { takesArguments: true, build: buildAny }],
  ['path', { takesArguments: false, build: () => path }]
])

/**
 * Reads the placeholder that fills the level from `start` to `end`, angle brackets included.
 *
 * @throws `FST_MQTT_PATTERN`
 */
export function parsePlaceholder (pattern: string, start: number, end: number, converters: ConverterMap): Placeholder {
  checkBrackets(pattern, start, end)
  const { converter, args, name } = split(pattern, start + 1, end - 1)
  if (!IDENTIFIER.test(name.text)) throw patternError(pattern, name.at, badName(name.text))
  return { name: name.text, nameAt: name.at, codec: build(pattern, converter, args, converters) }
}

function checkBrackets (pattern: string, start: number, end: number): void {
  const level = pattern.slice(start, end)
  const open = level.indexOf('<')
  const close = level.indexOf('>')
  if (open === 0 && close === level.length - 1 && level.indexOf('<', 1) === -1) return
  if (open === 0 && close === -1) throw patternError(pattern, start, 'The placeholder is not closed; its ">" must come before the next "/"')
  const fill = 'a placeholder must fill a whole level, from "<" to ">"'
  if (open > 0) throw patternError(pattern, start + open, `There is text before the placeholder; ${fill}`)
  if (open === -1) throw patternError(pattern, start + close, `There is no "<" to this ">"; ${fill}`)
  const second = level.indexOf('<', 1)
  const at = second !== -1 && second < close ? second : close + 1
  throw patternError(pattern, start + at, `There is more in this level; ${fill}`)
}

/** Takes `int(min=0):n`, `int:n` or `n` apart. */
function split (pattern: string, start: number, end: number): { converter: Piece, args: Piece[] | undefined, name: Piece } {
  const body = pattern.slice(start, end)
  const open = body.indexOf('(')
  const colon = body.indexOf(':')
  if (open !== -1 && (colon === -1 || open < colon)) {
    const close = body.indexOf(')', open)
    if (close === -1) throw patternError(pattern, start + open, 'The arguments are not closed; put a ")" after them')
    if (body[close + 1] !== ':') throw patternError(pattern, start + close + 1, 'After ")" come ":" and the name, as in <int(min=0):n>')
    return {
      converter: { text: body.slice(0, open), at: start },
      args: list(body.slice(open + 1, close), start + open + 1),
      name: { text: body.slice(close + 2), at: start + close + 2 }
    }
  }
  if (colon === -1) return { converter: { text: 'str', at: start }, args: undefined, name: { text: body, at: start } }
  return {
    converter: { text: body.slice(0, colon), at: start },
    args: undefined,
    name: { text: body.slice(colon + 1), at: start + colon + 1 }
  }
}

function list (text: string, start: number): Piece[] {
  let at = start
  return text.split(',').map(item => {
    const piece = { text: item, at }
    at += item.length + 1
    return piece
  })
}

function build (pattern: string, { text, at }: Piece, args: Piece[] | undefined, converters: ConverterMap): Codec {
  const builtIn = BUILT_INS.get(text)
  if (!Object.hasOwn(converters, text)) {
    if (builtIn === undefined) throw patternError(pattern, at, unknownConverter(text, converters))
    if (args !== undefined && !builtIn.takesArguments) throw patternError(pattern, args[0]!.at, `${text} takes no arguments; write <${text}:name>`)
    return builtIn.build(args ?? [], pattern, at)
  }
  if (builtIn !== undefined) throw patternError(pattern, at, `The converter "${text}" is built in; give yours another name`)
  if (!IDENTIFIER.test(text)) throw patternError(pattern, at, badName(text))
  if (args !== undefined) throw patternError(pattern, args[0]!.at, `The custom converter "${text}" takes no arguments; write <${text}:name>`)
  if (!isConverter(converters[text])) {
    throw patternError(pattern, at, `The custom converter "${text}" must be { pattern: RegExp, parse (text), format (value) }`)
  }
  return custom(text, converters[text])
}

function isConverter (value: unknown): value is Converter {
  const { pattern, parse, format } = (value ?? {}) as Partial<Converter>
  // Not instanceof: it may come from another realm.
  return Object.prototype.toString.call(pattern) === '[object RegExp]' && typeof parse === 'function' && typeof format === 'function'
}

function buildStr (args: readonly Piece[], pattern: string): Codec {
  if (args.length === 0) return str
  const given = named(args, pattern, ['length', 'minlength', 'maxlength'], counts)
  const length = given.get('length')
  if (length !== undefined) {
    if (given.size > 1) throw patternError(pattern, args[1]!.at, 'length says it all; leave out minlength and maxlength, or length')
    return strOf({ min: length, max: length })
  }
  const limits = { min: given.get('minlength') ?? 1, max: given.get('maxlength') ?? Infinity }
  if (limits.min > limits.max) throw patternError(pattern, args[1]!.at, 'minlength is greater than maxlength; no text is like that')
  return strOf(limits)
}

function buildAny (items: readonly Piece[], pattern: string, at: number): Codec {
  if (items.length === 0) throw patternError(pattern, at, 'any needs the levels that it matches, as in <any(on,off):state>')
  const seen = new Set<string>()
  for (const item of items) {
    if (item.text === '') throw patternError(pattern, item.at, 'There is an empty item; write a level between the commas, or leave out the comma')
    const bad = item.text.search(/[(+#]/)
    if (bad !== -1) throw patternError(pattern, item.at + bad, 'The items of any hold none of , ( ) < > / + #; take it out')
    if (seen.has(item.text)) throw patternError(pattern, item.at, `"${item.text}" is listed twice; leave one out`)
    seen.add(item.text)
  }
  return any([...seen])
}

/** How an argument's value is read, and what an error says it should be. */
interface Reader {
  readonly read: (text: string) => number | undefined
  readonly wants: string
}

const integers: Reader = { read: readInt, wants: 'a whole number within safe integers, such as -5' }
const decimals: Reader = { read: readFloat, wants: 'a number in digits, such as -1.5' }
const counts: Reader = {
  read (text) {
    const value = readInt(text)
    return value !== undefined && value >= 1 ? value : undefined
  },
  wants: 'a whole number, 1 or more'
}

function range (args: readonly Piece[], pattern: string, reader: Reader): Range {
  const given = named(args, pattern, ['min', 'max'], reader)
  const { min, max } = { min: given.get('min') ?? -Infinity, max: given.get('max') ?? Infinity }
  if (min > max) throw patternError(pattern, args[1]!.at, 'min is greater than max; no number is like that')
  return { min, max }
}

/** The values of arguments such as `min=0`, each at most once. */
function named (args: readonly Piece[], pattern: string, known: readonly string[], reader: Reader): Map<string, number> {
  const given = new Map<string, number>()
  for (const { text, at } of args) {
    const equals = text.indexOf('=')
    const key = equals === -1 ? text : text.slice(0, equals)
    if (!known.includes(key)) throw patternError(pattern, at, `Unknown argument "${key}"; known are ${known.join(', ')}, each written ${known[0]!}=value without spaces`)
    if (equals === -1) throw patternError(pattern, at + text.length, `"${key}" has no value; write ${key}=value`)
    if (given.has(key)) throw patternError(pattern, at, `"${key}" is given twice; leave one out`)
    const value = reader.read(text.slice(equals + 1))
    if (value === undefined) throw patternError(pattern, at + equals + 1, `"${key}" must be ${reader.wants}`)
    given.set(key, value)
  }
  return given
}

function unknownConverter (name: string, converters: ConverterMap): string {
  const known = [...BUILT_INS.keys(), ...Object.keys(converters)].join(', ')
  return `Unknown converter "${name}"; known are ${known}, and others go into the option converters`
}

function badName (name: string): string {
  if (name === '') return 'The placeholder has no name; write <name> or <int:name>'
  return `"${name}" is no name; write a letter, "_" or "$" first, then letters and digits`
}
