import type { FastifyInstance } from 'fastify'
import { Bridge } from './bridge/bridge.ts'
import { assertPermitted } from './bridge/admission.ts'
import { Connection, type ConnectDetails } from './connection/connection.ts'
import { Subscriptions } from './connection/subscriptions.ts'
import { readTlsOptions } from './connection/tls.ts'
import { createTransport, type OpenTransport } from './connection/transport.ts'
import { createEmbeddedBroker, type EmbeddedBroker } from './embedded/broker.ts'
import { FST_MQTT_CLOSED, FST_MQTT_OPTIONS, FST_MQTT_PAYLOAD, logFailure, type MqttError } from './errors.ts'
import { Inbox } from './inbox/inbox.ts'
import type { ResolvedOptions } from './options/resolve.ts'
import { Outbox } from './outbox/outbox.ts'
import { PublishHooks } from './outbox/publish-hooks.ts'
import { Publisher, type PublisherOptions } from './outbox/publisher.ts'
import { Recorder } from './outbox/recorder.ts'
import type { Source } from './outbox/source.ts'
import { Readiness } from './readiness.ts'
import { Replies } from './request/replies.ts'
import { Requester } from './request/requester.ts'
import { DeadLetters } from './routing/dead-letters.ts'
import { Dispatcher } from './routing/dispatcher.ts'
import type { Parts } from './routing/facade.ts'
import { tellHooks } from './routing/hooks.ts'
import { Injector } from './routing/injector.ts'
import { InboundMessage } from './routing/message.ts'
import { NotFoundHandlers } from './routing/not-found.ts'
import { Registry } from './routing/registry.ts'
import { Scope } from './routing/scope.ts'
import { filterMatches } from './topics/filter.ts'
import type { MqttHooks, ProtocolVersion, Status } from './types/index.ts'
import type { ConnectInfo, Tap } from './wire/tap.ts'

/** All parts of one connection, put together and taken through its life. */
export class Runtime {
  readonly parts: Parts
  readonly scope: Scope
  readonly #app: FastifyInstance
  readonly #options: ResolvedOptions
  readonly #connection: Connection
  readonly #subscriptions: Subscriptions
  readonly #outbox: Outbox
  readonly #recorder: Recorder
  readonly #inbox: Inbox
  readonly #dispatcher: Dispatcher
  readonly #injector: Injector
  readonly #requester: Requester
  readonly #bridge: Bridge
  readonly #broker: EmbeddedBroker | undefined
  readonly #readiness: Readiness
  readonly #warned = new Set<string>()
  /** A connection that publishes do not go out on yet. */
  #waiting: { tap: Tap, info: ConnectInfo } | undefined
  /** What was published has to leave, whatever becomes of subscriptions. */
  #draining = false
  #lastFailure = ''
  #stopping: Promise<void> | undefined
  /** Of `closeTimeout`, in milliseconds. */
  #timeLeft = 0

  constructor (app: FastifyInstance, options: ResolvedOptions) {
    this.#app = app
    this.#options = options
    this.scope = new Scope(app)
    const broker = options.embedded === undefined ? undefined : createEmbeddedBroker(options.embedded, app.log)
    this.#broker = broker
    this.#outbox = new Outbox({ ...options.outbox, discard: !options.connect })
    this.#recorder = new Recorder()
    this.#connection = this.#createConnection()
    this.#subscriptions = new Subscriptions(this.#connection.client, { retry: options.reconnect.max, pretend: !options.connect }, {
      onGranted: ({ filter, qos }) => {
        this.#app.log.debug({ filter, qos }, 'MQTT subscribed')
        this.#tell('onSubscribe', { filter, qos })
        this.#readiness.check()
      },
      onCovered: () => this.#readiness.check(),
      onRefused: error => {
        this.#app.log.error({ err: error }, 'MQTT subscription refused')
        this.#readiness.refused(error)
      },
      onUnsubscribed: filter => this.#tell('onUnsubscribe', filter),
      onKept: filter => this.#app.log.warn({ filter }, 'MQTT: the connection ended each time that UNSUBSCRIBE was sent; it is tried again later, and until then the broker keeps the subscription'),
      onAwaiting: () => this.#inbox.reconsider(),
      onUnsuspected: () => this.#attachOutbox(),
      onUnsendable: (filter, option) => this.#warnOnce(`The subscription to "${filter}" asks for ${option}, which needs MQTT 5`),
      onOverlap: (one, other) => this.#warnOnce(`The filters "${one}" and "${other}" overlap: on MQTT 3.1.1 a broker may send a message of both twice, and nothing tells the copies apart`)
    })
    this.#readiness = new Readiness(() => this.#connection.connected && this.#subscriptions.settled)
    const registry = new Registry({ ...options, ledger: this.#subscriptions })
    const publisher = this.#createPublisher(this.#outbox.createSource('The main thread'))
    this.#requester = this.#createRequester(publisher)
    this.#bridge = this.#createBridge(registry)
    registry.onNames = () => this.#bridge.routesChanged()
    this.parts = {
      connection: this.#connection,
      registry,
      subscriptions: this.#subscriptions,
      publisher,
      requester: this.#requester,
      status: () => this.#status(),
      attach: workerOrPool => this.#bridge.attach(workerOrPool),
      inject: message => this.#injector.inject(message),
      embedded: broker === undefined ? undefined : { address: () => broker.address() },
      notFound: new NotFoundHandlers(this.scope, options),
      subscribed: new Map()
    }
    this.#dispatcher = new Dispatcher({
      namespace: options.namespace,
      registry,
      notFound: this.parts.notFound,
      replies: new Replies(publisher, app.log),
      deadLetters: new DeadLetters({
        publish: (topic, payload, options, hooks) => publisher.publish(topic, payload, options, hooks),
        version: () => this.#connection.version
      }),
      replyTopic: this.#requester.topic,
      claim: ids => this.#subscriptions.claim(ids),
      standsFor: (topic, ids, retain) => this.#subscriptions.standsFor(topic, ids, retain)
    })
    this.#inbox = this.#createInbox()
    this.#outbox.onAwaiting = () => this.#inbox.reconsider()
    this.#outbox.onUnsendable = () => this.#warnUnsendable()
    this.#injector = new Injector({
      prefix: options.prefix, dispatcher: this.#dispatcher, scheduler: this.#inbox.scheduler, recorder: this.#recorder, ready: async () => { await app.ready() }
    })
  }

  /** Starts the embedded broker, if there is one, and connecting; waits only for `waitForConnection`. */
  async start (): Promise<void> {
    this.parts.registry.compile()
    if (!this.#options.connect) return
    if (this.#broker !== undefined) {
      await this.#broker.start()
      this.#broker.attach(this.#app.server)
    }
    this.#connection.start()
    const { waitForConnection } = this.#options
    if (waitForConnection === 0) return
    try {
      await this.#readiness.wait(waitForConnection, () => this.#connection.lastError)
    } catch (error) {
      // The application does not come up: nothing of ours may keep the process alive or go on trying.
      await this.#connection.close(0)
      await this.#broker?.close()
      throw error
    }
  }

  /**
   * Nothing more is taken in, and handlers are let to their end. That is before any `onClose` hook of the application runs: what handlers
   * work with, pools and databases, must not be closed under them, in whatever order those hooks were added.
   */
  stop (): Promise<void> {
    this.#stopping ??= this.#stop()
    return this.#stopping
  }

  async #stop (): Promise<void> {
    const { closeTimeout } = this.#options
    const from = performance.now()
    this.#connection.announceClose()
    this.#inbox.stop()
    // Handlers that heed it may give up, and their messages stay unacknowledged; the others run to their end.
    this.scope.abortAll(FST_MQTT_CLOSED('The application is closing'))
    this.#broker?.detach()
    // A handler that hangs must not take the time in which the others' publishes are confirmed.
    await within(this.#inbox.idle(), from + closeTimeout * 3 / 4)
    this.#inbox.end()
    this.#timeLeft = Math.max(closeTimeout - (performance.now() - from), closeTimeout / 4)
  }

  /** Confirms what was published, disconnects: with `stop`, all within `closeTimeout`. HTTP handlers may publish until this begins. */
  async close (): Promise<void> {
    await this.stop()
    // Whatever SUBSCRIBE has no answer yet, here or on the next connection: nobody waits for its messages, but for answers to requests
    // of handlers that still run, and one of those may be missed.
    this.#draining = true
    this.#attachOutbox()
    const deadline = performance.now() + this.#timeLeft
    await this.#bridge.close()
    // Handlers that still run may end meanwhile, and their messages are acknowledged; they may have published, too.
    await Promise.all([within(this.#inbox.quiet(), deadline - this.#options.closeTimeout / 8), this.#drain(deadline)])
    this.#requester.close()
    await this.#drain(deadline)
    this.#inbox.finish()
    this.#injector.close()
    this.scope.end()
    this.#outbox.close()
    this.#subscriptions.close()
    await this.#connection.close(deadline - performance.now())
    await this.#broker?.close()
  }

  /** Down at this moment only, the connection is made again: what a healthy broker can still confirm is waited for. */
  async #drain (deadline: number): Promise<void> {
    if (this.#connection.everConnected || !this.#options.connect) await within(this.#outbox.drained(), deadline)
  }

  #createConnection (): Connection {
    const { options } = this.#connectionOptions()
    return new Connection(options, {
      onConnected: (tap, info) => this.#onConnected(tap, info),
      onReady: (tap, info) => this.#onReady(tap, info),
      onDisconnected: (tap, error) => this.#onDisconnected(tap, error),
      onFailed: error => this.#onFailed(error),
      onState: state => this.#app.log.debug({ state }, 'MQTT state'),
      onPublish: (tap, publish) => {
        if (this.#recorder.active) this.#recorder.exclude(() => this.#inbox.receive(tap, publish))
        else this.#inbox.receive(tap, publish)
      },
      onOversize: (tap, oversize) => this.#inbox.oversize(tap, oversize),
      onRelease: (tap, id) => this.#inbox.release(tap, id),
      onAck: (tap, type, id, reasonCode) => this.#outbox.acknowledge(tap, type, id, reasonCode),
      onDrain: tap => this.#outbox.drain(tap)
    })
  }

  #connectionOptions () {
    const { endpoint, tls, inbox, ...options } = this.#options
    if (tls.rejectUnauthorized === false) this.#app.log.warn('MQTT: tls.rejectUnauthorized is false, so anybody can pass for the broker')
    const broker = this.#broker
    const open: OpenTransport = broker === undefined ? createTransport(endpoint, () => readTlsOptions(tls)) : () => broker.connect()
    return {
      options: {
        ...options,
        open,
        receiveMaximum: Math.min(inbox.maxMessages, 65_535),
        details: () => this.#details()
      }
    }
  }

  async #details (): Promise<ConnectDetails> {
    const { credentials, will } = this.#options
    const given = credentials === undefined ? this.#options : await credentials()
    if (typeof given !== 'object' || given === null) throw FST_MQTT_OPTIONS('credentials: must give an object with username and password')
    const { username, password } = given
    return { username, password, will: typeof will === 'function' ? await will() : will }
  }

  #createInbox (): Inbox {
    const { namespace, inbox, concurrency, ackOrder } = this.#options
    return new Inbox({
      ...inbox,
      namespace,
      concurrency,
      ackOrder,
      takeReply: publish => this.#requester.take(publish),
      dispatch: reception => this.#dispatcher.dispatch(reception),
      onDropped: () => this.#warnOnce('The inbox is full: QoS 0 messages are dropped (status().counters.dropped counts them)'),
      onOversize: ({ publish, bytes }) => this.#dispatcher.skipped(publish, this.scope,
        FST_MQTT_PAYLOAD(`A message of ${bytes} bytes was skipped: maxPayload is ${this.#options.maxPayload}`)),
      outboxAwaits: () => this.#outbox.awaiting || this.#subscriptions.awaiting || this.#requester.awaiting
    })
  }

  #createRequester (publisher: Publisher): Requester {
    const { prefix, clientId } = this.#options
    const owner = {}
    return new Requester({
      prefix,
      clientId,
      publisher,
      subscribe: filter => this.#subscriptions.acquire(filter, owner, { qos: 1, noLocal: false, retainAsPublished: false, retainHandling: 0 }),
      version: () => this.#connection.connected ? this.#connection.version : this.#versionWithoutBroker(),
      toMessage: publish => InboundMessage.ofReply(publish, prefix, this.scope),
      onAwaiting: () => this.#inbox.reconsider(),
      answer: this.#options.connect ? undefined : (send, onReply) => this.#injector.answer(send, onReply)
    })
  }

  #versionWithoutBroker (): ProtocolVersion | undefined {
    const { connect, protocolVersion } = this.#options
    return connect || protocolVersion === 'auto' ? undefined : protocolVersion
  }

  #createPublisher (source: Source, permit: Pick<PublisherOptions, 'permit'> = {}): Publisher {
    return new Publisher(this.#outbox, source, {
      namespace: this.#options.namespace,
      prefix: this.#options.prefix,
      timeout: this.#options.publishTimeout,
      version: () => this.#connection.version,
      onUnsendable: () => this.#warnUnsendable(),
      recorder: this.#recorder,
      ...permit
    })
  }

  #createBridge (registry: Registry): Bridge {
    const { namespace, prefix, publishTimeout, outbox, workers } = this.#options
    const { topics } = workers
    const hooks = PublishHooks.of(this.scope)
    const permits = topics && ((topic: string) => topics.some(filter => filterMatches(filter, topic)))
    const permit = permits && { permit: (topic: string) => assertPermitted(permits, topic) }
    // One for each worker that asks, not for each request: memory for frames comes in chunks.
    const publishers = new WeakMap<Source, Publisher>()
    const publisherOf = (source: Source): Publisher => {
      const publisher = publishers.get(source) ?? this.#createPublisher(source, permit)
      publishers.set(source, publisher)
      return publisher
    }
    return new Bridge({
      namespace,
      outbox: this.#outbox,
      prefix,
      version: () => this.#connection.version,
      timeout: publishTimeout,
      maxBytes: outbox.maxBytes,
      window: workers.window,
      log: this.#app.log,
      onUnsendable: () => this.#warnUnsendable(),
      request: (source, topic, payload, request) => this.#requester.request(topic, payload, request, hooks, publisherOf(source)),
      routes: () => registry.named().map(([name, { definition }]) => ({
        name, pattern: definition.declared, absolute: definition.absolute, portable: definition.portable
      })),
      hooks,
      ...(permits !== undefined && { permits, topics })
    })
  }

  #onConnected (tap: Tap, info: ConnectInfo): void {
    const { clientId } = this.#options
    this.#lastFailure = ''
    this.#app.log.info({ clientId, version: info.version, sessionPresent: info.sessionPresent }, 'MQTT connected')
    this.#bridge.setVersion(info.version)
    this.#inbox.attach(tap, info)
    if (info.sessionPresent) this.#subscriptions.inherit()
    this.#requester.attach(info.version)
    const { version: protocolVersion, sessionPresent, receiveMaximum, maximumPacketSize, maximumQoS, retainAvailable } = info
    this.#tell('onConnect', { protocolVersion, sessionPresent, receiveMaximum, maximumPacketSize, maximumQoS, retainAvailable })
  }

  #onReady (tap: Tap, info: ConnectInfo): void {
    this.#waiting = { tap, info }
    this.#subscriptions.attach(info)
    this.#readiness.check()
    // What the broker hangs up on is found sooner when publishes do not come between.
    if (this.#draining || !this.#subscriptions.probing) this.#attachOutbox()
  }

  /** Behind the SUBSCRIBEs, so that this application does not miss answers to what waited in the outbox. */
  #attachOutbox (): void {
    const waiting = this.#waiting
    this.#waiting = undefined
    if (waiting !== undefined) this.#outbox.attach(waiting.tap, waiting.info)
  }

  #onDisconnected (tap: Tap, error: Error | undefined): void {
    this.#waiting = undefined
    const interrupted = this.#subscriptions.detach(tap.hungUp, tap.redelivered)
    this.#inbox.detach(tap)
    // It may have been a SUBSCRIBE that the broker hung up on.
    this.#outbox.detach(tap, tap.hungUp && !interrupted, tap.redelivered)
    const wanted = this.#connection.state === 'closing'
    if (!wanted) this.#app.log.warn({ err: error }, 'MQTT disconnected')
    this.#tell('onDisconnect', wanted ? undefined : error)
  }

  /** Runs the hooks on what happens to the connection; nobody waits for them. */
  #tell<N extends 'onConnect' | 'onDisconnect' | 'onSubscribe' | 'onUnsubscribe'> (name: N, ...args: Parameters<MqttHooks[N]>): void {
    tellHooks(this.scope.hooks.everywhere(name), args, error => logFailure(this.#app.log, error, `MQTT hook ${name} failed`))
  }

  #onFailed (error: Error): void {
    // An outage tells itself once, not at every attempt.
    const level = error.message === this.#lastFailure ? 'debug' : 'warn'
    this.#lastFailure = error.message
    this.#app.log[level]({ err: error }, 'MQTT connection failed, trying again')
    if ((error as MqttError).code === 'FST_MQTT_CONNECT_REFUSED' && this.#connection.state === 'refused') this.#readiness.refused(error as MqttError)
  }

  #warnUnsendable (): void {
    this.#warnOnce('MQTT 5 properties were given to a publish, and the connection speaks 3.1.1: they are not sent')
  }

  #warnOnce (text: string): void {
    if (this.#warned.has(text)) return
    this.#warned.add(text)
    this.#app.log.warn(text)
  }

  #status (): Status {
    const { state, connected, since, lastError, reconnects, version } = this.#connection
    const { messages, bytes, inflight } = this.#outbox
    return {
      state,
      connected,
      since,
      ...(connected && { protocolVersion: version }),
      ...(lastError !== undefined && { lastError }),
      outbox: { messages, bytes, inflight },
      inbox: { messages: this.#inbox.messages, bytes: this.#inbox.bytes, running: this.#inbox.scheduler.running },
      workers: this.#bridge.workers,
      subscriptions: this.#subscriptions.status,
      counters: { ...this.#outbox.counters, ...this.#inbox.counters, ...this.#dispatcher.counters, reconnects }
    }
  }
}

/** Waits for a promise until a deadline on performance.now()'s clock. */
async function within (promise: Promise<void>, deadline: number): Promise<void> {
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<void>(resolve => { timer = setTimeout(resolve, Math.max(deadline - performance.now(), 0)) })
  await Promise.race([promise, late])
  clearTimeout(timer)
}
