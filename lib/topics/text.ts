/*
 * What MQTT asks of any text (MQTT 5 section 1.5.4), without Buffer and without String.prototype.isWellFormed,
 * which neither browsers of before 2024 nor lib es2023 have.
 */

/** The longest text that MQTT can carry, in bytes of UTF-8. */
export const MAX_BYTES = 65_535

/** The deepest pattern or filter. mosquitto ends the connection over some 200 levels. */
export const MAX_LEVELS = 128

const unwelcome = /[\p{Cc}\p{Noncharacter_Code_Point}\p{Surrogate}]/u

/** The text with nothing in it that {@link unwelcomeCharacter} names. */
export function wellBehaved (text: string): string {
  return text.replace(new RegExp(unwelcome, 'gu'), '\ufffd')
}

/** The index of the first character that {@link unwelcomeCharacter} names, or -1. */
export function unwelcomeAt (text: string): number {
  return text.search(unwelcome)
}

/**
 * The first character that a string on the wire had better not hold, as text for an error, or null.
 * Lone surrogates and NUL are forbidden. Control characters and noncharacters only "should not" be sent, but a
 * receiver may hang up over them (MQTT 5 section 1.5.4), and mosquitto does: one publisher's newline would
 * disconnect everybody who shares the connection.
 */
export function unwelcomeCharacter (text: string): string | null {
  const found = unwelcome.exec(text)
  if (found === null) return null
  const code = found[0].codePointAt(0)!
  const name = `U+${code.toString(16).toUpperCase().padStart(4, '0')}`
  if (code === 0) return `the NUL character (${name})`
  if (code < 0xa0) return `the control character ${name}`
  return code >= 0xd800 && code <= 0xdfff ? `the lone surrogate ${name}` : `the noncharacter ${name}`
}

/** The index of the first half of a surrogate pair that lacks its other half, or -1. */
export function loneSurrogate (text: string): number {
  for (let i = 0; i < text.length; i++) {
    const unit = text.charCodeAt(i)
    if ((unit & 0xf800) !== 0xd800) continue
    if (unit > 0xdbff || (text.charCodeAt(i + 1) & 0xfc00) !== 0xdc00) return i
    i++
  }
  return -1
}

/** The index of the first character that no longer fits into 65 535 bytes of UTF-8, or -1. The text is well-formed. */
export function overflow (text: string): number {
  if (text.length * 3 <= MAX_BYTES) return -1
  let bytes = 0
  for (let i = 0; i < text.length; i++) {
    const unit = text.charCodeAt(i)
    const start = i
    if (unit < 0x80) bytes += 1
    else if (unit < 0x800) bytes += 2
    else if ((unit & 0xfc00) === 0xd800) {
      bytes += 4
      i++
    } else bytes += 3
    if (bytes > MAX_BYTES) return start
  }
  return -1
}
