import type { AedesOptions, Client, Subscription } from 'aedes'
import type { FastifyBaseLogger } from 'fastify'
import type { EmbeddedClient, EmbeddedOptions } from './options.ts'

type Handlers = Required<Pick<AedesOptions, 'authenticate' | 'authorizePublish' | 'authorizeSubscribe'>>
type AuthenticateError = Parameters<Parameters<Handlers['authenticate']>[3]>[0]

/** CONNACK return code 2: the server does not take this client id. */
const IDENTIFIER_REJECTED = 2

/** What the permissions need of the broker around them. */
export interface PermissionsContext {
  options: EmbeddedOptions
  logger: FastifyBaseLogger
  /** The application's own client, which is never asked. */
  isTrusted: (client: Client) => boolean
  /** Takes a refused filter out of a kept session. */
  forget: (client: Client, filter: string) => void
}

/** The hooks of the options as aedes wants them: callbacks, called once, with everything thrown taken for a no. */
export function createPermissions ({ options, logger, isTrusted, forget }: PermissionsContext): Handlers {
  const { authenticate, authorizePublish, authorizeSubscribe } = options
  const usernames = new WeakMap<Client, string>()
  /** Client ids of the application itself. Whoever came with one would take its session over [MQTT-3.1.4-2]. */
  const ownIds = new Set<string>()
  /** For each client, the answer to its last publish: answers come out in the order of the questions. */
  const publishes = new WeakMap<Client, Promise<void>>()

  function identify (client: Client): EmbeddedClient {
    return { clientId: client.id, username: usernames.get(client) }
  }

  /** aedes itself threw when it was given an answer: nobody else would catch that. */
  function broken (error: unknown): void {
    logger.error({ err: error }, 'embedded broker failed')
  }

  /** Asks a hook; only `true` is a yes. */
  function ask (what: string, client: Client, hook: () => boolean | Promise<boolean>, secret?: string): boolean | Promise<boolean> {
    const failed = (error: unknown): boolean => {
      logger.warn({ clientId: client.id, reason: describe(error, secret) }, `embedded broker: ${what} failed, which is a no`)
      return false
    }
    try {
      const verdict = hook()
      return typeof verdict === 'object' ? Promise.resolve(verdict).then(isYes, failed) : isYes(verdict)
    } catch (error) {
      return failed(error)
    }
  }

  return {
    authenticate (client, username, password, done) {
      if (isTrusted(client)) {
        ownIds.add(client.id)
        return done(null, true)
      }
      if (ownIds.has(client.id)) {
        const refusal = Object.assign(new Error('client id of the application itself'), { returnCode: IDENTIFIER_REJECTED })
        return done(refusal as AuthenticateError, false)
      }
      if (username !== undefined) usernames.set(client, username)
      if (authenticate === undefined) return done(null, true)
      const secret = password?.toString()
      const credentials = { clientId: client.id, username, password: secret }
      Promise.resolve(ask('authenticate', client, () => authenticate(credentials), secret))
        .then(yes => { done(null, yes) }).catch(broken)
    },

    authorizePublish (client, packet, done) {
      if (client === null || isTrusted(client)) return done(null)
      if (packet.topic.startsWith('$SYS/')) return done(new Error('$SYS/ is the broker\'s own'))
      if (authorizePublish === undefined) return done(null)
      const message = {
        topic: packet.topic, payload: Buffer.from(packet.payload), qos: packet.qos, retain: packet.retain
      }
      const verdict = ask('authorizePublish', client, () => authorizePublish(identify(client), message))
      const answer = (yes: boolean): void => { done(yes ? null : new Error('publish not authorized')) }

      const before = publishes.get(client)
      if (before === undefined && typeof verdict === 'boolean') return answer(verdict)
      // aedes asks for all packets of one read at once, and would pass them on in the order of the answers.
      const after = Promise.all([verdict, before]).then(([yes]) => {
        if (publishes.get(client) === after) publishes.delete(client)
        answer(yes)
      })
      publishes.set(client, after)
      after.catch(broken)
    },

    authorizeSubscribe (client, subscription, done) {
      if (authorizeSubscribe === undefined || isTrusted(client)) return done(null, subscription)
      const { topic: filter, qos } = subscription
      // aedes stores the whole SUBSCRIBE for a kept session as soon as one of its filters is granted, the others as they
      // stand. At QoS 0 nothing is queued for them; and no answer is given before each of them has come by here.
      subscription.qos = 0
      const verdict = ask('authorizeSubscribe', client, () => authorizeSubscribe(identify(client), { filter, qos }))
      Promise.resolve(verdict).then(yes => {
        if (yes) {
          subscription.qos = qos
          return done(null, subscription)
        }
        logger.debug({ clientId: client.id, filter }, 'embedded broker: subscription refused')
        forget(client, filter)
        done(null, null)
      }).catch(broken)
    }
  }
}

/** The filters of a SUBSCRIBE that were refused, as aedes reports them afterwards. */
export function refusedFilters (subscriptions: readonly Subscription[]): string[] {
  return subscriptions.filter(({ qos }) => (qos as number) === 0x80).map(({ topic }) => topic)
}

function isYes (verdict: unknown): boolean {
  return verdict === true
}

/** The text of a hook's error, without the password that it may quote. */
function describe (error: unknown, secret: string | undefined): string {
  const text = error instanceof Error ? error.message : String(error)
  return secret === undefined || secret === '' ? text : text.replaceAll(secret, '***')
}
