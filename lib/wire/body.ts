import { isUtf8 } from 'node:buffer'
import { FST_MQTT_INVALID_BODY } from '../errors.ts'
import type { ParseMode } from '../types/index.ts'

/** Reads JSON. */
export interface JsonReader {
  /** Fastify's JSON parser (`getDefaultJsonParser`), or one like it: it refuses `__proto__` and `constructor.prototype`. */
  readonly parse: (text: string) => unknown
  /** Above so many bytes it is not tried. */
  readonly limit: number
}

/** Anything else cannot be JSON, and need not be tried. */
const JSON_START = /^[\s]*[{["\-0-9tfn]/
const kUnparsed = Symbol('unparsed')

/** A payload, as what it says. It is parsed once, however often it is asked for. */
export class Body {
  readonly #payload: Buffer
  readonly #reader: JsonReader
  #json: unknown = kUnparsed
  /** It was tried, and is none. */
  #text: string | undefined

  constructor (payload: Buffer, reader: JsonReader) {
    this.#payload = payload
    this.#reader = reader
  }

  /** @throws `FST_MQTT_INVALID_BODY` when it is asked for as JSON, and is not */
  as (mode: ParseMode): unknown {
    switch (mode) {
      case 'json': return this.json()
      case 'text': return this.#payload.toString()
      case 'buffer': return this.#payload
      case 'auto': return this.#auto()
    }
  }

  /** @throws `FST_MQTT_INVALID_BODY` */
  json (): unknown {
    if (this.#json !== kUnparsed) return this.#json
    const { limit } = this.#reader
    if (this.#payload.length > limit) throw notJson(`The payload has ${this.#payload.length} bytes, and JSON is read up to ${limit} (Fastify's bodyLimit)`)
    if (!isUtf8(this.#payload)) throw notJson('The payload is not JSON: it is not UTF-8')
    try {
      this.#json = this.#reader.parse(this.#payload.toString())
    } catch {
      // Without the engine's message as cause: it quotes the payload, which must not get into logs.
      throw notJson('The payload is not JSON: it does not parse, or it has a forbidden prototype property')
    }
    return this.#json
  }

  /** JSON when it parses, else text when it is UTF-8, else the bytes. */
  #auto (): unknown {
    if (this.#json !== kUnparsed) return this.#json
    if (this.#text !== undefined) return this.#text
    if (!isUtf8(this.#payload)) return this.#payload
    const text = this.#payload.toString()
    if (this.#payload.length > this.#reader.limit || !JSON_START.test(text)) {
      this.#text = text
      return text
    }
    try {
      this.#json = this.#reader.parse(text)
      return this.#json
    } catch {
      // Also what tries to poison a prototype: as text it is harmless.
      this.#text = text
      return text
    }
  }
}

/** In the shape of one that does not fit its schema, but for `validation`. */
function notJson (text: string): Error {
  return Object.assign(FST_MQTT_INVALID_BODY(text), { validationContext: 'body' })
}
