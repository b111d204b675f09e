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
  readonly #onMessage: (message: unknown) => void
  readonly #onClose: () => void
  readonly #onUnanswered: (message: WorkerMessage) => void

  constructor (port: MessagePort, { onMessage, onClose, onUnanswered }: LinkHandlers) {
    this.#onUnanswered = onUnanswered
    this.#onMessage = onMessage
    // A port that fails before anybody answered is a matter for whoever looks for the main thread.
    this.#onClose = () => { if (this.#connected) onClose() }
    this.#port = port
    this.#listen()
  }

  /** Goes on with another port, from the first message on: of what went into the last one nothing was taken. */
  bind (port: MessagePort, held: boolean): void {
    this.close()
    this.#port = port
    this.#held = held
    this.#listen()
    if (!held) this.#repost()
  }

  /** Somebody has answered. */
  connect (): void {
    this.#connected = true
    if (this.#held) this.#repost()
    this.#kept = []
  }

  post (message: WorkerMessage): void {
    if (this.#connected) {
      this.#port.postMessage(message, message.type === 'publish' ? [message.buffer] : [])
      return
    }
    this.#kept.push(message)
    if (!this.#held) this.#sayUnanswered(message)
  }

  /** Takes what has arrived, without waiting for the event loop to bring it. */
  drain (): void {
    for (let received; (received = receiveMessageOnPort(this.#port)) !== undefined;) this.#onMessage(received.message)
  }

  /** Whether the thread has to stay alive for what is to come. */
  stayAwake (awake: boolean): void {
    if (awake === this.#awake) return
    this.#awake = awake
    if (awake) this.#port.ref()
    else this.#port.unref()
  }

  /** The thread ends: there is no other port to come, so this one gets what was kept. */
  handOver (): void {
    if (this.#held && !this.#connected) this.#repost()
    this.#held = false
  }

  close (): void {
    this.#port.off('message', this.#onMessage)
    this.#port.off('close', this.#onClose)
    this.#port.close()
  }

  #listen (): void {
    this.#port.on('message', this.#onMessage)
    this.#port.on('close', this.#onClose)
    // Listening alone keeps a thread alive.
    if (!this.#awake) this.#port.unref()
  }

  #repost (): void {
    for (const message of this.#kept) this.#sayUnanswered(message)
  }

  #sayUnanswered (message: WorkerMessage): void {
    this.#port.postMessage(message)
    if (!this.#connected) this.#onUnanswered(message)
  }
}
