import { errors, type MqttError } from '../errors.ts'

/** An error that can cross threads: ours as it is, and of what a hook has thrown a text, and a code that is a text. */
export function portable (thrown: unknown): Error {
  try {
    if (thrown instanceof Error) {
      const { message, code } = thrown as MqttError
      if (Object.hasOwn(errors, code) && thrown instanceof errors[code]) return thrown
      return Object.assign(new Error(String(message)), typeof code === 'string' && { code }, { maybeSent: false })
    }
  } catch {
    // A Proxy, or a getter that throws.
  }
  return Object.assign(new Error('An onPublish hook threw what is no Error'), { maybeSent: false })
}
