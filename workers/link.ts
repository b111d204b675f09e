import { receiveMessageOnPort, type MessagePort } from 'node:worker_threads'
import type { WorkerMessage } from '../lib/bridge/protocol.ts'

/** Where a link delivers what comes through it. */
export interface LinkHandlers {
  readonly onMessage: (message: unknown) => void
  /** The other side has closed the port, or is gone. */
  readonly onClose: () => void
  /** Says something once more in a way that does not need the port. */
  readonly onUnanswered: (message: WorkerMessage) => void
}

/** How a link goes on with another port. */
export interface BindOptions {
  /** Nothing goes into it before somebody answers. */
  readonly held?: boolean
  /** The last one may have been taken all the same: whichever brings an answer first is the one. */
  readonly keepsLast?: boolean
  /** Somebody may hear now who could not when it was said: all of it is said once more in the other way, too. */
  readonly again?: boolean
}

/**
 * The port to the main thread. Messages go into it without waiting for anybody to answer, because what is in a port
 * survives the worker. Until somebody does answer they are kept here as well: a port that nobody took is lost with all
 * that is in it, and the next one gets them again.
 */
export class Link {
  #port: MessagePort
  #connected = false
  /** Perhaps nobody listens at the other end, ever: messages stay here until somebody has answered. */
  #held = false
  #awake = false
  #kept: WorkerMessage[] = []
  /** Others that may be answered yet. */
  readonly #former = new Set<MessagePort>()
  readonly #onMessage: (message: unknown) => void
  readonly #onClose: () => void
  readonly #onUnanswered: (message: WorkerMessage) => void

  constructor (port: MessagePort, { onMessage, onClose, onUnanswered }: LinkHandlers) {
    this.#onUnanswered = onUnanswered
    this.#onMessage = onMessage
    this.#onClose = onClose
    this.#port = port
    this.#listen(port)
  }

  /** Goes on with another port, from the first message on: of what went into the last one nothing was taken, as far as is known. */
  bind (port: MessagePort, { held = false, keepsLast = false, again = false }: BindOptions = {}): void {
    const last = this.#port
    this.#port = port
    this.#held = held
    if (keepsLast) {
      this.#former.add(last)
      last.unref()
    } else last.close()
    this.#listen(port)
    if (again) for (const message of this.#kept) this.#sayUnanswered(message)
    if (!held) this.#repost()
  }

  /** Somebody has answered. */
  connect (): void {
    this.#connected = true
    if (this.#held) this.#repost()
    this.#kept = []
    this.#closeFormer()
  }

  post (message: WorkerMessage): void {
    if (this.#connected) {
      this.#port.postMessage(message, message.type === 'publish' ? [message.buffer] : [])
      return
    }
    if (!this.#held) this.#port.postMessage(message)
    this.#kept.push(message)
    this.#sayUnanswered(message)
  }

  /** Takes what has arrived, without waiting for the event loop to bring it. */
  drain (): void {
    if (this.#former.size > 0) for (const port of this.#former) this.#drain(port)
    this.#drain(this.#port)
  }

  /** Whether the thread has to stay alive for what is to come. */
  stayAwake (awake: boolean): void {
    if (awake === this.#awake) return
    this.#awake = awake
    this.#refer()
  }

  /** The thread ends: there is no other port to come, so this one gets what was kept. */
  handOver (): void {
    if (this.#held && !this.#connected) this.#repost()
    this.#held = false
  }

  close (): void {
    this.#closeFormer()
    this.#port.close()
  }

  #listen (port: MessagePort): void {
    port.on('message', message => this.#take(port, message))
    // One that fails before anybody answered is a matter for whoever looks for the main thread.
    port.on('close', () => { if (this.#connected && port === this.#port) this.#onClose() })
    // Listening alone keeps a thread alive.
    this.#refer()
  }

  #refer (): void {
    if (this.#awake) this.#port.ref()
    else this.#port.unref()
  }

  #drain (port: MessagePort): void {
    for (let received; (received = receiveMessageOnPort(port)) !== undefined;) this.#take(port, received.message)
  }

  #take (port: MessagePort, message: unknown): void {
    if (port !== this.#port && !this.#turnBack(port)) return
    this.#onMessage(message)
  }

  /** A former port has an answer: it lacks what was said since. What is said twice is taken once. */
  #turnBack (port: MessagePort): boolean {
    if (!this.#former.delete(port)) return false
    this.#former.add(this.#port)
    this.#port = port
    this.#held = true
    this.#refer()
    return true
  }

  #repost (): void {
    for (const message of this.#kept) this.#port.postMessage(message)
  }

  /** Not what is asked: nobody waits for the answer when this thread is gone. */
  #sayUnanswered (message: WorkerMessage): void {
    if (message.type === 'publish' || message.type === 'abort') this.#onUnanswered(message)
  }

  #closeFormer (): void {
    for (const port of this.#former) port.close()
    this.#former.clear()
  }
}
