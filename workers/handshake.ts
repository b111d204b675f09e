import { BroadcastChannel, getEnvironmentData, MessageChannel, parentPort, postMessageToThread, threadId, type MessagePort } from 'node:worker_threads'
import { ENVIRONMENT_KEY, MARK, PROTOCOL, SPARE_CHANNEL, type Environment, type Handshake, type WorkerMessage } from '../lib/bridge/protocol.ts'
import { FST_MQTT_CLOSED, FST_MQTT_NO_PLUGIN, type MqttError } from '../lib/errors.ts'
import { WorkerClient } from './client.ts'

/** A worker that never finds a plugin must not wait for it for ever. */
const GIVE_UP = 4_500
/** An answer on its way tells whether anything has been taken, and that is worth waiting for. */
const GRACE = 300
/** Between two attempts. */
const RETRY = { min: 10, max: 100 }
/**
 * When to try the way of `attach`: late, because in a worker that is ahead of `register` the parent is not waiting for
 * our handshake, and a listener of its own would see it.
 */
const ASK_PARENT = 500
/** How long an answer that way may take before the owner's thread is asked again. */
const PARENT = 250

/**
 * Finds the thread that owns a connection and gives it a port. The client can be used at once.
 *
 * @param before the client before this one was told that its application had closed: when nobody else is there, that is
 * what its successor says, without a search
 */
export function discover (namespace: string, before: MqttError | undefined): WorkerClient {
  const hint = (getEnvironmentData(ENVIRONMENT_KEY) as Environment | undefined)?.get(namespace)
  const { port1, port2 } = new MessageChannel()
  const client = new WorkerClient(port1, hint)
  new Search(client, namespace, hint?.threadId, before).start(port2)
  return client
}

class Search {
  readonly #client: WorkerClient
  readonly #namespace: string
  /** There was such a connection when this thread was started. */
  readonly #told: boolean
  readonly #owner: number
  readonly #before: MqttError | undefined
  readonly #id = `${threadId}.${Math.random().toString(36).slice(2)}`
  #spare: BroadcastChannel | undefined
  // The promise of postMessageToThread keeps no thread alive, so these timers do.
  #deadline: NodeJS.Timeout | undefined
  #timer: NodeJS.Timeout | undefined
  #wait = RETRY.min
  readonly #since = performance.now()
  #askedParent = false
  /** The owner's thread has a port of ours and has not said what it does with it. */
  #unanswered = false
  #givingUp = false

  /** @param owner which thread has the connection, when this one was told of it */
  constructor (client: WorkerClient, namespace: string, owner: number | undefined, before: MqttError | undefined) {
    this.#client = client
    this.#namespace = namespace
    this.#told = owner !== undefined
    this.#owner = owner ?? 0
    this.#before = before
  }

  start (port: MessagePort): void {
    if (this.#owner === threadId) {
      this.#client.fail(noPlugin('this thread has to use app.mqtt, workers find it from here'), false)
      return
    }
    this.#client.onConnected = () => this.#stop()
    this.#client.onUnanswered = message => this.#broadcast(message)
    this.#deadline = setTimeout(() => this.#giveUp(), GIVE_UP)
    this.#ask(port)
  }

  #ask (port: MessagePort): void {
    this.#unanswered = true
    postMessageToThread(this.#owner, this.#handshake(port), [port]).then(() => this.#answered(), () => this.#answered())
  }

  /**
   * The listeners of the other thread have run, or there is none. Ours posts `hello` before the answer to this comes
   * back, so what has not arrived by now never will: that port is lost.
   */
  #answered (): void {
    this.#unanswered = false
    this.#client.drain()
    if (this.#client.connected || this.#client.over !== undefined) return
    if (this.#givingUp) this.#giveUp()
    else if (this.#before !== undefined) this.#stop(this.#before)
    else if (this.#askedParent || parentPort === null || performance.now() - this.#since < ASK_PARENT) this.#retry(this.#wait)
    else this.#askParent(parentPort)
  }

  /** For `attach`. */
  #askParent (parent: MessagePort): void {
    this.#askedParent = true
    const { port1, port2 } = new MessageChannel()
    this.#client.bind(port1, { held: true })
    parent.postMessage(this.#handshake(port2), [port2])
    this.#retry(PARENT)
  }

  #retry (wait: number): void {
    this.#timer = setTimeout(() => {
      this.#client.drain()
      if (this.#client.connected) return
      this.#wait = Math.min(this.#wait * 2, RETRY.max)
      const { port1, port2 } = new MessageChannel()
      this.#client.bind(port1)
      this.#ask(port2)
    }, wait)
  }

  #giveUp (): void {
    this.#client.drain()
    if (this.#client.connected || this.#client.over !== undefined) return
    if (this.#unanswered && !this.#givingUp) {
      this.#givingUp = true
      this.#deadline = setTimeout(() => this.#giveUp(), GRACE)
      return
    }
    this.#stop(this.#told
      ? FST_MQTT_CLOSED('The application that this worker was told of when it started has closed') as MqttError
      : noPlugin('register it, and with several threads that have one, use app.mqtt.attach(worker)'))
  }

  #stop (error?: MqttError): void {
    clearTimeout(this.#deadline)
    clearTimeout(this.#timer)
    this.#client.onUnanswered = () => {}
    this.#spare?.close()
    // A thread too busy to answer may still find the port, and publish what is in it.
    if (error !== undefined) this.#client.fail(error, this.#unanswered)
  }

  #broadcast (message: WorkerMessage): void {
    if (this.#spare === undefined) {
      this.#spare = new BroadcastChannel(SPARE_CHANNEL)
      this.#spare.unref()
    }
    this.#spare.postMessage({ ...this.#sender, owner: this.#owner, message })
  }

  #handshake (port: MessagePort): Handshake {
    return { ...this.#sender, port }
  }

  get #sender (): Omit<Handshake, 'port'> {
    return { ns: MARK, protocol: PROTOCOL, namespace: this.#namespace, client: this.#id, threadId }
  }
}

function noPlugin (advice: string): MqttError {
  return FST_MQTT_NO_PLUGIN(`No thread was found in which fastify-multimqtt is registered: ${advice}`) as MqttError
}
