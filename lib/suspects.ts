/** What is sent, and may be what a broker answers by hanging up. */
export interface Suspect {
  /** How often in a row the broker has hung up while it was unanswered. */
  tries: number
  /** At how many of them nothing else had been sent on that connection, or only what went past it after a long wait. */
  alone: number
}

/** A packet is sent so often before it is taken for what the broker hangs up on. */
const TRIES = 3
/** So often alone, where connections are known to end for no reason of ours, or an answer may not have come in time. */
const ALONE_IN_DOUBT = 10
/** The same where the answer lay behind so many messages that a session has brought again. */
const ALONE_BEHIND_MANY = 20
const MANY = 50
/** So many hang-ups that were over nothing we sent make a network that flaps. */
const FLAPS = 2
/** For so long, in milliseconds, they go one by one; where answers take their time, that would take too long. */
const ONE_BY_ONE = 500
/** So long, in milliseconds, one that goes alone may be without an answer: a broker that hangs up does so sooner. */
const PATIENCE = 5_000
/** So long, in milliseconds, the connection has to hold before the try that would convict: where the network ends them, it does not. */
const CONTROL = 500
/** A connection that held this long, in milliseconds: the network does not flap. */
const STABLE = 10_000
/** Of so many hang-ups is remembered what they interrupted. */
const REMEMBERED = 8

/**
 * Finds the packet that a broker answers by hanging up, among those that merely were there.
 *
 * Behind a hang-up they go one by one on the next connection, so whatever the broker hangs up on is the first on the one
 * after that. Only then it can be blamed: what was sent behind an answer may stand there because the connection ended by
 * itself. Where that goes on for long, or connections are known to end by themselves, each answer lets one more go beside it.
 * One that is not answered at all must not hold up the others: after a while they go without it.
 */
export class Suspects<T extends Suspect> {
  /** How many may be unanswered at once. */
  allowance = Infinity
  /** What each of the last hang-ups has interrupted, and is still unanswered. */
  #hangUps: Array<Set<T>> = []
  #flaps = 0
  /** The last answer on this connection was a refusal. */
  #refused = false
  #answered = false
  /** One was without an answer for too long, and the others have gone past it. */
  #passed = false
  #attachedAt = 0
  #oneByOneAt = 0
  readonly #onRoom: () => void
  #timer: NodeJS.Timeout | undefined

  /** @param onRoom more may go than before, without an answer having come */
  constructor (onRoom: () => void) {
    this.#onRoom = onRoom
  }

  attached (): void {
    this.#refused = false
    this.#answered = false
    this.#passed = false
    this.#attachedAt = performance.now()
    if (this.#hangUps.length === 0) this.allowance = Infinity
    else if (this.#flapping || !this.#isLastTry) this.#goOneByOne()
    else this.#control()
  }

  #goOneByOne (): void {
    this.allowance = 1
    this.#oneByOneAt = performance.now()
    this.#timer = setTimeout(() => {
      // Nothing is in doubt any more.
      if (this.allowance === Infinity) return
      this.allowance = Infinity
      this.#passed = true
      this.#onRoom()
    }, PATIENCE).unref()
  }

  #control (): void {
    this.allowance = 0
    this.#timer = setTimeout(() => {
      if (this.#hangUps.length > 0) this.#goOneByOne()
      this.#onRoom()
    }, CONTROL).unref()
  }

  detached (): void {
    clearTimeout(this.#timer)
    if (performance.now() - this.#attachedAt >= STABLE) this.#flaps = 0
  }

  /**
   * The broker hung up while these were unanswered. Returns the one that it is over, when that is known. Behind a refusal
   * nobody is accused: some brokers end the connection after one (mosquitto 2.0.11 with max_queued_messages 0), and
   * whoever is unanswered then merely stood next in line.
   *
   * @param redelivered how many messages of a kept session came again on that connection
   */
  accuse (unanswered: readonly T[], redelivered: number): T | undefined {
    // With nothing sent it was over nothing of ours.
    if (this.allowance === 0) {
      this.#flaps = FLAPS
      return undefined
    }
    const [first] = unanswered
    if (this.#refused || first === undefined) return undefined
    for (const suspect of unanswered) suspect.tries++
    this.#hangUps = [...this.#hangUps, new Set(unanswered)].slice(-REMEMBERED)
    const beside = unanswered.length > 1 || this.#answered
    // What went past the first is no reason to take it for innocent: a broker may take its time.
    if (beside && !this.#passed) return undefined
    first.alone++
    if (!this.#proven(first, beside, redelivered)) return undefined
    // That is what all the others were interrupted by.
    this.relax()
    return first
  }

  /** The broker has answered it; `refused` when with a no. */
  acquit (suspect: T, refused: boolean): void {
    this.#refused = refused
    this.#answered = true
    if (this.#flapping || performance.now() - this.#oneByOneAt > ONE_BY_ONE) this.allowance++
    suspect.tries = 0
    suspect.alone = 0
    for (const interrupted of this.#hangUps) interrupted.delete(suspect)
    const before = this.#hangUps.length
    this.#keep(interrupted => interrupted.size > 0)
    // It was over none of what it has interrupted.
    this.#flaps += before - this.#hangUps.length
    if (this.allowance < Infinity) this.#timer?.refresh()
  }

  /** It is not sent any more, and whether it was the reason remains unknown. */
  forget (suspect: T): void {
    if (suspect.tries > 0) this.#keep(interrupted => !interrupted.has(suspect))
  }

  /** Nothing more is in doubt. */
  relax (): void {
    for (const interrupted of this.#hangUps) {
      for (const suspect of interrupted) {
        suspect.tries = 0
        suspect.alone = 0
      }
    }
    this.#keep(() => false)
  }

  get #isLastTry (): boolean {
    return this.#hangUps.some(interrupted => [...interrupted].some(({ tries }) => tries >= TRIES - 1))
  }

  get #flapping (): boolean {
    return this.#flaps >= FLAPS
  }

  #keep (doubtful: (interrupted: Set<T>) => boolean): void {
    if (this.#hangUps.length > 0) this.#hangUps = this.#hangUps.filter(doubtful)
    if (this.#hangUps.length === 0) this.allowance = Infinity
  }

  #proven ({ tries, alone }: T, beside: boolean, redelivered: number): boolean {
    if (redelivered > MANY) return alone >= ALONE_BEHIND_MANY
    if (redelivered > 0 || this.#flapping || beside) return alone >= ALONE_IN_DOUBT
    return tries >= TRIES
  }
}
