import { FST_MQTT_PATTERN, type CodedError } from './errors.ts'
import { loneSurrogate, overflow, unwelcomeAt, unwelcomeCharacter } from './text.ts'

/** How much of a long text is shown on either side of the place. */
const CONTEXT = 60

/** An error that shows the text with a caret under the place; `reason` says what is wrong and what to do. */
export function patternError (text: string, at: number, reason: string): CodedError {
  const from = Math.max(0, at - CONTEXT)
  const to = Math.min(text.length, at + CONTEXT)
  const before = from > 0 ? '…' : ''
  const after = to < text.length ? '…' : ''
  const indent = ' '.repeat(before.length + at - from)
  return new FST_MQTT_PATTERN(`${reason}\n  ${before}${printable(text.slice(from, to))}${after}\n  ${indent}^`)
}

/**
 * Throws unless the text is one that MQTT can carry (MQTT 5 sections 1.5.4 and 4.7.3). `what` it is begins the
 * sentence: `The pattern`.
 *
 * @throws `FST_MQTT_PATTERN`
 */
export function checkText (text: string, what: string): void {
  if (typeof text !== 'string') throw new FST_MQTT_PATTERN(`${what} must be a string, not ${text === null ? 'null' : typeof text}`)
  if (text === '') throw patternError(text, 0, `${what} is empty; MQTT knows no empty topic`)
  const nul = text.indexOf('\0')
  if (nul !== -1) throw patternError(text, nul, `${what} holds NUL (U+0000), which MQTT forbids; take it out`)
  const lone = loneSurrogate(text)
  if (lone !== -1) throw patternError(text, lone, `${what} holds a lone surrogate, which UTF-8 cannot express; take it out`)
  const odd = unwelcomeAt(text)
  if (odd !== -1) throw patternError(text, odd, `${what} holds ${unwelcomeCharacter(text)!}, over which brokers end the connection; take it out`)
  const over = overflow(text)
  if (over !== -1) throw patternError(text, over, `${what} is over 65 535 bytes; make it shorter`)
}

/** One column for each code unit, and nothing that ends a line, rings a bell or forges a log. */
function printable (text: string): string {
  let shown = ''
  for (let i = 0; i < text.length; i++) {
    const unit = text.charCodeAt(i)
    if (unit < 0x20) shown += String.fromCharCode(0x2400 + unit)
    else if ((unit >= 0x7f && unit < 0xa0) || unit === 0x2028 || unit === 0x2029) shown += '\ufffd'
    else shown += text[i]!
  }
  // Half a pair is what the error may be about, or what the cut above has left.
  for (let lone = loneSurrogate(shown); lone !== -1; lone = loneSurrogate(shown)) {
    shown = `${shown.slice(0, lone)}\ufffd${shown.slice(lone + 1)}`
  }
  return shown
}
