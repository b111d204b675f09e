import { isArrayBuffer } from 'node:util/types'
import { Delivery, type Settle } from '../outbox/delivery.ts'
import { timedOut, unaccepted, withMaybeSent } from '../outbox/failures.ts'
import { Lease } from '../outbox/lease.ts'
import type { Outbox } from '../outbox/outbox.ts'
import { kKeep, PacketEncoder, type Packet } from '../outbox/packet.ts'
import type { Passage, PublishHooks } from '../outbox/publish-hooks.ts'
import type { Source } from '../outbox/source.ts'
import { Slab, type Frame } from '../wire/encode.ts'
import { MalformedPacket } from '../wire/malformed.ts'
import type { ProtocolVersion, QoS } from '../wire/packet.ts'
import { Admission, assertPermitted, type AdmissionOptions } from './admission.ts'
import { readWorkerFrame } from './frames.ts'
import { Marks } from './marks.ts'
import { portable } from './portable.ts'
import { clock, type PublishMessage } from './protocol.ts'
import { TracedFrames } from './traced.ts'
import { unpack } from './unpack.ts'

/** What all workers of one connection have in common. */
export interface IntakeOptions extends AdmissionOptions {
  readonly namespace?: string | undefined
  readonly outbox: Outbox
  /** The layout of the connection, or of the one that is expected. */
  readonly version: () => ProtocolVersion
  /** Milliseconds until an unconfirmed publish is rejected; 0 is never. */
  readonly timeout: number
  /** Properties were given, and the connection's version cannot carry them. */
  readonly onUnsendable?: () => void
  /** What the publishes of workers pass. */
  readonly hooks?: PublishHooks
}

/** Where the answers go. `credit` is what the worker counted in bytes. */
export interface IntakeHandlers {
  onSettled (delivery: WorkerDelivery, error: Error | null, reasonCode: number): void
  /** Not put into the outbox. */
  onRefused (seq: number, error: Error, credit: number): void
  /** Memory that the worker has lent is not needed any more. */
  onFree (buffer: ArrayBuffer): void
}

/** A delivery that remembers which publishes of its worker it carries. */
export class WorkerDelivery extends Delivery {
  /** The number of the first; the others follow it. */
  readonly first: number
  /** What the worker counted for them: the bytes themselves may change with the version. */
  credit: number
  /** Through hooks that want to know how it ends. */
  passage: Passage | undefined = undefined

  constructor (frame: Frame, version: ProtocolVersion, qos: QoS, deadline: number, settle: Settle, first: number, credit: number) {
    super(frame, version, qos, deadline, settle)
    this.first = first
    this.credit = credit
  }
}

/** A run settles, and is replaced, as one; so nothing large is joined to it. As in the publisher of the main thread. */
const RUN_FRAME_MAX = 8 * 1024
/** Offline nobody knows the next broker's limit, and with one that is over it all of a run are refused. This is below any. */
const OFFLINE_FRAME_MAX = 128
/** Offline a run may last so long, and so much earlier may those at its end expire. As a part of their time, and in milliseconds. */
const OFFLINE_RUN = { part: 1 / 16, most: 1_000 }
/** A turn of so few bytes takes more memory for what is made for it. Where it has to wait it is joined to those before it. */
const SMALL_TURN = 2 * 1024
const NO_BYTES = Buffer.alloc(0)

/** Puts the frames of one worker into the outbox. It trusts nothing that they say about themselves. */
export class Intake {
  readonly #options: IntakeOptions
  readonly #source: Source
  readonly #admission: Admission
  readonly #handlers: IntakeHandlers
  readonly #settle: Settle
  /** Encodes what has passed hooks. */
  #encoder: PacketEncoder | undefined
  readonly #traced: TracedFrames
  readonly #abortable = new Map<number, WorkerDelivery>()
  /** The number that the worker's next publish has to have. */
  #next = 0
  /** QoS 0 frames that settle together: of this turn, and offline of those before it. */
  #run: WorkerDelivery | undefined
  /** This turn waits: there is no connection, or what came before has not left. */
  #gathers = false
  /** Where those of several turns lie together, which would each keep memory of their own. */
  #slab: Slab | undefined
  /** The outbox refused this many bytes in this turn. Nothing settles meanwhile, so it has no room for as many or more. */
  #refusedFrom = Infinity
  #lastError: Error | undefined
  /** The memory of this turn's frames, where it is wanted back. */
  #lease: Lease | undefined
  /** What was taken of this turn's frames and lies in the memory that they came in. */
  #lying: WorkerDelivery[] = []
  /** Where those of turns lie of which most was refused. */
  readonly #apart = new Slab()

  constructor (source: Source, options: IntakeOptions, handlers: IntakeHandlers) {
    this.#source = source
    this.#options = options
    this.#handlers = handlers
    this.#admission = new Admission(options)
    this.#traced = new TracedFrames(options.namespace, source.threadId ?? 'main')
    this.#settle = (delivery, error, reasonCode) => {
      if (error !== null) this.#lastError = error
      if (this.#abortable.size > 0) this.#abortable.delete((delivery as WorkerDelivery).first)
      handlers.onSettled(delivery as WorkerDelivery, error, reasonCode)
      this.#traced.settle((delivery as WorkerDelivery).first, delivery.messages, error, reasonCode)
      if (error === null) (delivery as WorkerDelivery).passage?.after({ reasonCode })
    }
  }

  /** How many publishes were taken. */
  get taken (): number {
    return this.#next
  }

  /** @throws MalformedPacket; what came before the place was taken, what follows was not */
  take (message: PublishMessage): void {
    const { timeout, version: connectionVersion, onUnsendable, hooks } = this.#options
    const { first, count, version } = message
    // Said before: a worker's first words come on two ways.
    if (first < this.#next) return
    if (first !== this.#next) throw new MalformedPacket('Frames out of turn')
    if (version !== 5 && version !== 4 && version !== 3) throw new MalformedPacket('Frames of no version')
    if (message.properties === true && connectionVersion() < 5) onUnsendable?.()
    const buffer = readMemory(message)
    const deadlines = new Marks(message.deadlines, 2)
    const abortable = new Marks(message.abortable, 1)
    const absolute = new Marks(message.absolute, 1)
    const now = performance.now()
    // From the clock of all threads to that of this one.
    const offset = message.deadlines === undefined ? 0 : now - clock()
    const usual = timeout === 0 ? Infinity : now + timeout
    const hooked = hooks?.active === true
    this.#gathers = !this.#options.outbox.attached || (buffer.length <= SMALL_TURN && this.#source.queue.length > 0)
    this.#endRun(usual, timeout)
    this.#refusedFrom = Infinity
    // Hooks may keep what they see.
    this.#lease = message.used === undefined || hooked ? undefined : new Lease(() => this.#handlers.onFree(message.buffer))
    let start = 0
    for (let seq = first; seq < first + count; seq++) {
      const layout = readWorkerFrame(buffer, start, version)
      const { end, qos, retain } = layout
      this.#traced.begin(seq, buffer, layout, version)
      const credit = end - start
      const own = deadlines.take(seq)
      const mayAbort = abortable.take(seq) !== undefined
      const isAbsolute = absolute.take(seq) !== undefined
      const deadline = own === undefined ? usual : own === 0 ? Infinity : own + offset
      const frame = this.#admit({ buffer, start, end }, message, isAbsolute, deadline <= now, seq)
      const passage = hooked && frame !== undefined ? hooks.begin(unpack(frame, version)) : undefined
      this.#next = seq + 1
      start = end
      if (frame === undefined) continue
      const isOwn = own !== undefined || mayAbort
      if (passage !== undefined) this.#attend(passage, version, qos, isOwn, deadline, mayAbort, seq, credit)
      else this.#put(frame, version, qos, !isOwn && this.#mayJoin(qos, retain, credit), deadline, mayAbort, seq, credit)
    }
    if (start !== buffer.length) throw new MalformedPacket('More bytes than frames')
    this.#moveApart(buffer.length)
    this.#lease?.release()
  }

  /** Where most was refused, what was taken must not keep the memory of all. */
  #moveApart (size: number): void {
    const lying = this.#lying
    if (lying.length === 0) return
    this.#lying = []
    let taken = 0
    for (const { bytes } of lying) taken += bytes
    if (taken * 2 >= size) return
    for (const delivery of lying) if (delivery.state === 'queued') delivery.move(this.#apart)
  }

  #endRun (usual: number, timeout: number): void {
    // Small turns may come between large ones for as long as anything waits.
    if (!this.#gathers && this.#source.queue.length === 0) this.#slab = undefined
    if (this.#run === undefined) return
    const { deadline } = this.#run
    const isOld = usual !== deadline && usual - deadline > Math.min(timeout * OFFLINE_RUN.part, OFFLINE_RUN.most)
    if (!this.#gathers || isOld) this.#run = undefined
  }

  #mayJoin (qos: QoS, retain: boolean, size: number): boolean {
    if (qos !== 0 || retain) return false
    const { attached, info } = this.#options.outbox
    return size <= (attached ? Math.min(info!.maximumPacketSize, RUN_FRAME_MAX) : OFFLINE_FRAME_MAX)
  }

  /** @param plain may settle together with others */
  #put (frame: Frame, version: ProtocolVersion, qos: QoS, plain: boolean, deadline: number, mayAbort: boolean, seq: number, credit: number, passage?: Passage): void {
    const gathers = plain && this.#gathers
    if (gathers) frame = this.#gather(frame)
    if (plain && this.#join(frame, version, seq, credit)) return
    if (this.#hasRefused(qos, credit)) {
      this.#refuse(seq, this.#lastError!, credit)
      return
    }
    const delivery = new WorkerDelivery(frame, version, qos, deadline, this.#settle, seq, credit)
    delivery.passage = passage
    if (mayAbort) this.#abortable.set(seq, delivery)
    const before = this.#lastError
    this.#options.outbox.add(this.#source, delivery, gathers ? undefined : this.#lease)
    // With no broker (`connect: false`) it settles at once, too, and well.
    if (this.#lastError !== before) this.#refusedFrom = credit
    else if (!gathers) this.#lying.push(delivery)
    this.#run = plain ? delivery : undefined
  }

  /** There are hooks. */
  #attend (passage: Passage, version: ProtocolVersion, qos: QoS, isOwn: boolean, deadline: number, mayAbort: boolean, seq: number, credit: number): void {
    const { packet, tells } = passage
    try {
      const full = this.#refusal(qos, credit)
      if (full !== undefined) throw full
      const waiting = passage.before()
      if (tells || waiting !== undefined) packet[kKeep]()
      if (waiting !== undefined) {
        this.#hold(passage, waiting, version, qos, deadline, mayAbort, seq, credit)
        return
      }
      const frame = this.#encode(packet)
      const plain = !isOwn && !tells && this.#mayJoin(frame.qos, frame.retain, frame.end - frame.start)
      this.#put(frame, frame.version, frame.qos, plain, deadline, mayAbort, seq, credit, tells ? passage : undefined)
    } catch (error) {
      this.#refuse(seq, portable(error), credit)
    }
  }

  /** Hooks need not look at what is not taken anyway. */
  #refusal (qos: QoS, credit: number): Error | undefined {
    if (this.#hasRefused(qos, credit)) return this.#lastError
    const refusal = this.#options.outbox.refusal(this.#source, qos, 1, credit)
    if (refusal === undefined) return undefined
    this.#refusedFrom = credit
    this.#lastError = unaccepted(refusal)
    return this.#lastError
  }

  #hold (passage: Passage, waiting: Promise<void>, version: ProtocolVersion, qos: QoS, deadline: number, mayAbort: boolean, seq: number, credit: number): void {
    const { outbox } = this.#options
    const delivery = new WorkerDelivery({ buffer: NO_BYTES, start: 0, end: credit }, version, qos, deadline, this.#settle, seq, credit)
    if (passage.tells) delivery.passage = passage
    if (mayAbort) this.#abortable.set(seq, delivery)
    this.#run = undefined
    passage.hold(this.#source, delivery)
    outbox.hold(this.#source, delivery)
    waiting.then(() => this.#release(passage.packet, delivery), thrown => outbox.abandon(delivery, portable(thrown)))
  }

  #release (packet: Packet, delivery: WorkerDelivery): void {
    if (delivery.state !== 'held') return
    const { outbox } = this.#options
    try {
      const frame = this.#encode(packet)
      outbox.release(this.#source, delivery, frame, frame.version, frame.qos)
    } catch (error) {
      outbox.abandon(delivery, portable(error))
    }
  }

  #encode (packet: Packet): ReturnType<PacketEncoder['encode']> {
    const { version, onUnsendable, permits } = this.#options
    this.#encoder ??= new PacketEncoder({ version, onUnsendable, permit: permits && (topic => assertPermitted(permits, topic)) })
    return this.#encoder.encode(packet)
  }

  #hasRefused (qos: QoS, credit: number): boolean {
    return credit >= this.#refusedFrom && (qos > 0 || !this.#source.covers(credit))
  }

  /** Nobody waits for this publish any more. */
  abort (seq: number, error: Error): void {
    const delivery = this.#abortable.get(seq)
    if (delivery !== undefined) this.#options.outbox.abandon(delivery, error)
  }

  /** The frame as it goes on, or undefined when it was refused. */
  #admit (frame: Frame, message: PublishMessage, isAbsolute: boolean, isLate: boolean, seq: number): Frame | undefined {
    if (!isLate && this.#admission.isOpen(message, isAbsolute)) return frame
    try {
      const admitted = this.#admission.admit(frame, message, isAbsolute)
      if (isLate) throw timedOut()
      return admitted
    } catch (error) {
      if (error instanceof MalformedPacket) throw error
      this.#refuse(seq, error as Error, frame.end - frame.start)
      return undefined
    }
  }

  #gather ({ buffer, start, end }: Frame): Frame {
    this.#slab ??= new Slab()
    const at = this.#slab.reserve(end - start)
    buffer.copy(this.#slab.buffer, at, start, end)
    return { buffer: this.#slab.buffer, start: at, end: at + end - start }
  }

  /** Adds a QoS 0 frame to the run that it lies behind. */
  #join (frame: Frame, version: ProtocolVersion, seq: number, credit: number): boolean {
    const run = this.#run
    if (run === undefined || run.state !== 'queued' || run.buffer !== frame.buffer || run.end !== frame.start) return false
    if (run.version !== version || run.first + run.messages !== seq) return false
    // A request has no number, and may have come between.
    if (this.#source.queue.last !== run) return false
    if (!this.#options.outbox.extend(this.#source, run, frame.end)) return false
    run.credit += credit
    return true
  }

  #refuse (seq: number, error: Error, credit: number): void {
    withMaybeSent(error, false)
    this.#options.outbox.counters.refused++
    this.#handlers.onRefused(seq, error, credit)
    this.#traced.settle(seq, 1, error, 0)
  }
}

/** @throws MalformedPacket where it is no memory of its own, which the worker could change after it has been looked at */
function readMemory ({ buffer, used = buffer.byteLength }: PublishMessage): Buffer {
  if (!isArrayBuffer(buffer) || !Number.isInteger(used) || used < 0 || used > buffer.byteLength) throw new MalformedPacket('Frames in no memory')
  return Buffer.from(buffer, 0, used)
}
