import { BroadcastChannel, getEnvironmentData, MessageChannel, parentPort, postMessageToThread, receiveMessageOnPort, threadId, type MessagePort } from 'node:worker_threads'
import { ENVIRONMENT_KEY, MARK, NEWS_CHANNEL, openedIn, PROTOCOL, SPARE_CHANNEL, type Environment, type Handshake, type WorkerMessage } from '../lib/bridge/protocol.ts'
import { FST_MQTT_CLOSED, FST_MQTT_NO_PLUGIN, type MqttError } from '../lib/errors.ts'
import { WorkerClient } from './client.ts'
import type { BindOptions } from './link.ts'

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
/** Why nobody was found. */
const ABSENT = 'No thread was found in which fastify-multimqtt is registered: register it, and with several threads that have one, use app.mqtt.attach(worker)'
const HERE = 'This thread is no worker: use app.mqtt here'
const GONE = 'The application that this worker was told of when it started has closed'
const BUSY = 'The thread in which the application is looked for has not answered for 5 seconds: it is busy, or about to end'
const THROWS = 'In the thread of the application a listener for workerMessage throws, and ours is behind it'

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
  /** Which thread had such a connection when this one was started. */
  readonly #told: number | undefined
  /** The thread that is asked. */
  #owner: number
  readonly #before: MqttError | undefined
  readonly #id = `${threadId}.${Math.random().toString(36).slice(2)}`
  #news: BroadcastChannel | undefined
  /** What the event loop has brought of it. */
  #opened: number | undefined
  // The promise of postMessageToThread keeps no thread alive, so these timers do.
  #deadline: NodeJS.Timeout | undefined
  #timer: NodeJS.Timeout | undefined
  #wait = RETRY.min
  readonly #since = performance.now()
  #askedParent = false
  /** Which attempt this is. */
  #attempt = 1
  /** The owner's thread has a port of ours and has not said what it does with it. */
  #unanswered = false
  /** A listener in the owner's thread threw, perhaps before ours could take the port: then what was broadcast has been taken instead. */
  #thrown = false
  #givingUp = false

  /** @param owner which thread has the connection, when this one was told of it */
  constructor (client: WorkerClient, namespace: string, owner: number | undefined, before: MqttError | undefined) {
    this.#client = client
    this.#namespace = namespace
    this.#told = owner
    this.#owner = owner ?? 0
    this.#before = before
  }

  start (port: MessagePort): void {
    if (this.#owner === threadId) {
      this.#client.fail(FST_MQTT_NO_PLUGIN(HERE) as MqttError, false)
      return
    }
    this.#client.onAnswered = () => this.#stop()
    this.#client.onDrain = () => this.#heed()
    this.#client.onUnanswered = message => this.#broadcast(message)
    this.#listen()
    this.#allow()
    this.#ask(port)
  }

  /** Whoever opens from here on says so; whoever was there before hears what we say. */
  #listen (): void {
    this.#news = new BroadcastChannel(NEWS_CHANNEL)
    // Read here where the event loop turns, and by #heed where it does not.
    this.#news.onmessage = event => {
      this.#note((event as { data: unknown }).data)
      this.#client.drain()
    }
    this.#news.unref()
  }

  #note (news: unknown): void {
    const opened = openedIn(news, this.#namespace)
    if (opened !== undefined && (opened === this.#owner || opened === this.#told)) this.#opened = opened
  }

  /** The time to find somebody begins. */
  #allow (): void {
    clearTimeout(this.#deadline)
    this.#givingUp = false
    this.#deadline = setTimeout(() => this.#giveUp(), GIVE_UP)
  }

  #ask (port: MessagePort): void {
    const attempt = this.#attempt
    this.#unanswered = true
    postMessageToThread(this.#owner, this.#handshake(port), [port]).then(() => this.#answered(attempt), (error: Error) => this.#answered(attempt, error))
  }

  #askAgain (options?: BindOptions): void {
    clearTimeout(this.#timer)
    // Before all is said again: what belongs to an attempt that was turned away is not taken.
    this.#attempt++
    const { port1, port2 } = new MessageChannel()
    this.#client.bind(port1, options)
    this.#ask(port2)
  }

  /**
   * A connection has come up where we may have asked too early, and this thread may have slept since, as one of Piscina
   * does between two tasks: everything is said again, and the time begins anew. The last port may have been taken all
   * the same.
   */
  #heed (): void {
    for (let received; (received = receiveMessageOnPort(this.#news as unknown as MessagePort)) !== undefined;) this.#note(received.message)
    if (this.#opened === undefined) return
    // Two threads must not have the same to publish: first the one that was asked has to answer.
    if (this.#opened !== this.#owner && this.#unanswered) return
    this.#owner = this.#opened
    this.#opened = undefined
    this.#allow()
    this.#askAgain({ keepsLast: true, again: true })
  }

  /**
   * The listeners of the other thread have run, or there is none. Ours posts `hello` before the answer to this comes
   * back, so what has not arrived by now never will: that port is lost.
   */
  #answered (attempt: number, error?: Error): void {
    if (attempt !== this.#attempt) return
    this.#unanswered = false
    this.#thrown ||= (error as NodeJS.ErrnoException | undefined)?.code === 'ERR_WORKER_MESSAGING_ERRORED'
    if (this.#read(attempt)) return
    if (this.#owner !== 0 && !this.#thrown) this.#turnToMain()
    else if (this.#givingUp) this.#giveUp()
    else if (this.#before !== undefined) this.#stop(this.#before)
    else if (this.#askedParent || parentPort === null || performance.now() - this.#since < ASK_PARENT) this.#retry(this.#wait)
    else this.#askParent(parentPort)
  }

  /** Reads what has arrived. True when that changes everything: somebody has answered, or can be asked now. */
  #read (attempt = this.#attempt): boolean {
    this.#client.drain()
    return attempt !== this.#attempt || this.#client.connected || this.#client.over !== undefined
  }

  /** The application that this thread was told of is gone. There may be another where most are. */
  #turnToMain (): void {
    this.#owner = 0
    this.#askAgain({ again: true })
  }

  /** For `attach`. */
  #askParent (parent: MessagePort): void {
    this.#askedParent = true
    const { port1, port2 } = new MessageChannel()
    this.#client.bind(port1, { held: true })
    parent.postMessage(this.#handshake(port2), [port2])
    // The parent may be busy, and take it later.
    this.#retry(PARENT, { keepsLast: true })
  }

  /**
   * Nothing goes into the next port before somebody answers: what lies in one that nobody takes stays in the other
   * thread's memory, and there may be ten in a second. Whoever opens meanwhile says so, and is told everything then.
   */
  #retry (wait: number, options?: BindOptions): void {
    this.#timer = setTimeout(() => {
      if (this.#read()) return
      this.#wait = Math.min(this.#wait * 2, RETRY.max)
      this.#askAgain({ ...options, held: true })
    }, wait)
  }

  #giveUp (): void {
    if (this.#read()) return
    if (this.#unanswered && !this.#givingUp) {
      this.#givingUp = true
      this.#deadline = setTimeout(() => this.#giveUp(), GRACE)
      return
    }
    this.#stop(this.#failure)
  }

  get #failure (): MqttError {
    const isTold = this.#told !== undefined
    const why = this.#unanswered ? BUSY : this.#thrown ? THROWS : isTold ? GONE : ABSENT
    return (isTold ? FST_MQTT_CLOSED(why) : FST_MQTT_NO_PLUGIN(why)) as MqttError
  }

  #stop (error?: MqttError): void {
    clearTimeout(this.#deadline)
    clearTimeout(this.#timer)
    this.#client.onAnswered = () => {}
    this.#client.onUnanswered = () => {}
    this.#client.onDrain = () => {}
    this.#news?.close()
    // A thread too busy to answer may still find the port, and publish what is in it.
    if (error !== undefined) this.#client.fail(error, this.#unanswered || this.#thrown)
  }

  /** By a channel of its own that is closed again: one that is open would get what others say. */
  #broadcast (message: WorkerMessage): void {
    const channel = new BroadcastChannel(SPARE_CHANNEL)
    channel.postMessage({ ...this.#sender, owner: this.#owner, message })
    channel.close()
  }

  #handshake (port: MessagePort): Handshake {
    return { ...this.#sender, port }
  }

  get #sender (): Omit<Handshake, 'port'> {
    return { ns: MARK, protocol: PROTOCOL, namespace: this.#namespace, client: this.#id, attempt: this.#attempt, threadId }
  }
}
