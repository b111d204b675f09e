import { loneSurrogate, MAX_BYTES, overflow, unwelcomeCharacter } from './text.ts'

const NUL = 0
const HASH = 35
const PLUS = 43

/**
 * What keeps a text from being a topic name (MQTT 5 section 4.7): a reason that reads on from the topic, such as
 * `must not be empty`, or null when it is one.
 */
export function topicNameError (topic: string): string | null {
  if (topic === '') return 'must not be empty'
  // Before the scan: a text of megabytes is not worth looking at.
  if (topic.length > MAX_BYTES) return TOO_LONG
  let surrogates = false
  for (let i = 0; i < topic.length; i++) {
    const unit = topic.charCodeAt(i)
    if (unit === PLUS) return 'must not contain the wildcard "+"'
    if (unit === HASH) return 'must not contain the wildcard "#"'
    if (unit === NUL) return 'must not contain NUL'
    if ((unit & 0xf800) === 0xd800) surrogates = true
  }
  if (surrogates && loneSurrogate(topic) !== -1) return 'must not contain a lone surrogate'
  const found = unwelcomeCharacter(topic)
  if (found !== null) return `must not contain ${found}`
  return overflow(topic) === -1 ? null : TOO_LONG
}

const TOO_LONG = 'must not be over 65 535 bytes'
