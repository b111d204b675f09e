import { wellBehaved } from '../topics/text.ts'

/** User properties of a message that says what failed. */
export const ERROR_CODE = 'error-code'
export const ERROR_MESSAGE = 'error-message'

/** Of a failure's message, so many characters are told. */
const MAX_MESSAGE = 1_000

/** An error in words that may leave the process: its code, or else its name, and its message. Never the stack. */
export function describeError (error: Error): { code: string, message: string } {
  const { code } = error as { code?: unknown }
  return {
    code: wellBehaved((typeof code === 'string' && code !== '' ? code : String(error.name)).slice(0, MAX_MESSAGE)),
    message: wellBehaved(String(error.message).slice(0, MAX_MESSAGE))
  }
}
