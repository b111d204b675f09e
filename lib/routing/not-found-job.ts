import type { Reception } from '../inbox/inbox.ts'
import { HandlerJob, type HandlingTools } from './handler-job.ts'
import type { InboundMessage } from './message.ts'
import type { NotFound } from './not-found.ts'
import type { Observer } from './observer.ts'

/** The not-found handler on one message. */
export class NotFoundJob extends HandlerJob {
  readonly #notFound: NotFound

  constructor (notFound: NotFound, message: InboundMessage, reception: Reception, tools: HandlingTools, observer: Observer | undefined) {
    super(notFound.rules, message, reception, tools, observer)
    this.#notFound = notFound
  }

  protected handle (): unknown {
    const { scope, handler } = this.#notFound
    return handler.call(scope.instance, this.message)
  }
}
