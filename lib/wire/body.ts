import { isUtf8 } from 'node:buffer'
import { FST_MQTT_INVALID_BODY } from '../errors.ts'

/** Fastify's JSON parser (`getDefaultJsonParser`): it refuses `__proto__` and `constructor.prototype`. */
export type JsonParser = (text: string) => unknown

/** Anything else cannot be JSON, and need not be tried. */
const JSON_START = /^[\s]*[{["\-0-9tfn]/

/** JSON when it parses, else text when it is UTF-8, else the bytes. */
export function parseBody (payload: Buffer, parseJson: JsonParser): unknown {
  if (!isUtf8(payload)) return payload
  const text = payload.toString()
  if (!JSON_START.test(text)) return text
  try {
    return parseJson(text)
  } catch {
    // Also what tries to poison a prototype: as text it is harmless.
    return text
  }
}

/** @throws `FST_MQTT_INVALID_BODY` */
export function parseJsonBody (payload: Buffer, parseJson: JsonParser): unknown {
  if (!isUtf8(payload)) throw FST_MQTT_INVALID_BODY('The payload is not JSON: it is not UTF-8')
  try {
    return parseJson(payload.toString())
  } catch {
    // Without the engine's message as cause: it quotes the payload, which must not get into logs.
    throw FST_MQTT_INVALID_BODY('The payload is not JSON: it does not parse, or it has a forbidden prototype property')
  }
}
