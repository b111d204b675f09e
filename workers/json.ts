/** Anything that could spell one of the two names below. */
const SUSPECT = /__proto__|constructor|\\u/

/**
 * JSON.parse, but for `__proto__` and `constructor.prototype`, as Fastify's own parser in the main thread.
 *
 * @throws SyntaxError
 */
export function parseJson (text: string): unknown {
  return JSON.parse(text, SUSPECT.test(text) ? refusePoison : undefined)
}

function refusePoison (key: string, value: unknown): unknown {
  const poison = key === '__proto__' || (key === 'constructor' && typeof value === 'object' && value !== null && Object.hasOwn(value, 'prototype'))
  if (poison) throw new SyntaxError('Forbidden prototype property')
  return value
}
