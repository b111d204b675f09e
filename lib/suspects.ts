/** What is sent, and may be what a broker answers by hanging up. */
export interface Suspect {
  /** How often in a row the broker has hung up while it was unanswered. */
  tries: number
  /** At how many of them it was all that had been sent on that connection, and nothing had been answered. */
  alone: number
}

/** A packet is sent so often before it is taken for what the broker hangs up on. */
const TRIES = 3
/** So often alone, on a network that ends connections for no reason of ours. */
const ALONE_WHEN_FLAPPING = 4
/** The same where the answer lay behind so many messages that a session has brought again, and may not have come in time. */
const ALONE_BEHIND_MANY = 20
const MANY = 50
/** So many hang-ups that were over nothing we sent make a network that flaps. */
const FLAPS = 2
/** For so long, in milliseconds, they go one by one; where answers take their time, that would take too long. */
const ONE_BY_ONE = 500
/** A connection that held this long, in milliseconds: the network does not flap. */
const STABLE = 10_000

/**
 * Finds the packet that a broker answers by hanging up, among those that merely were there.
 *
 * Behind a hang-up they go one by one on the next connection, so whatever the broker hangs up on is the first on the one
 * after that. Only then it can be blamed: what was sent behind an answer may stand there because the connection ended by
 * itself. Where that goes on for long, or connections are known to end by themselves, each answer lets one more go beside it.
 */
export class Suspects<T extends Suspect> {
  /** How many may be unanswered at once. */
  allowance = Infinity
  /** Unanswered at a hang-up, and not answered since. */
  readonly #doubtful = new Set<T>()
  #flapping = false
  #unexplained = 0
  /** The last answer on this connection was a refusal. */
  #refused = false
  #answered = false
  #attachedAt = 0

  attached (): void {
    this.#refused = false
    this.#answered = false
    this.#attachedAt = performance.now()
    this.allowance = this.#doubtful.size > 0 ? 1 : Infinity
  }

  detached (): void {
    if (performance.now() - this.#attachedAt < STABLE) return
    this.#flapping = false
    this.#unexplained = 0
  }

  /**
   * The broker hung up while these were unanswered. Returns the one that it is over, when that is known. Behind a refusal
   * nobody is accused: some brokers end the connection after one (mosquitto 2.0.11 with max_queued_messages 0), and
   * whoever is unanswered then merely stood next in line.
   *
   * @param redelivered how many messages of a kept session came again on that connection
   */
  accuse (unanswered: readonly T[], redelivered: number): T | undefined {
    if (this.#refused) return undefined
    for (const suspect of unanswered) {
      suspect.tries++
      this.#doubtful.add(suspect)
    }
    const [first] = unanswered
    if (first === undefined || unanswered.length > 1 || this.#answered) return undefined
    first.alone++
    if (!this.#proven(first, redelivered)) return undefined
    // That is what all the others were interrupted by.
    for (const suspect of [...this.#doubtful]) this.forget(suspect)
    return first
  }

  /** The broker has answered it; `refused` when with a no. */
  acquit (suspect: T, refused: boolean): void {
    this.#refused = refused
    this.#answered = true
    if (this.#flapping || performance.now() - this.#attachedAt > ONE_BY_ONE) this.allowance++
    if (suspect.alone > 0) this.#flapping = true
    const doubted = this.#doubtful.size > 0
    this.forget(suspect)
    // The broker has hung up over none of them.
    if (doubted && this.#doubtful.size === 0 && ++this.#unexplained >= FLAPS) this.#flapping = true
  }

  /** It is not sent any more. */
  forget (suspect: T): void {
    suspect.tries = 0
    suspect.alone = 0
    this.#doubtful.delete(suspect)
    if (this.#doubtful.size === 0) this.allowance = Infinity
  }

  /** All that was to be sent again is answered. */
  relax (): void {
    for (const suspect of [...this.#doubtful]) this.forget(suspect)
  }

  #proven ({ tries, alone }: T, redelivered: number): boolean {
    if (redelivered > MANY) return alone >= ALONE_BEHIND_MANY
    return this.#flapping ? alone >= ALONE_WHEN_FLAPPING : tries >= TRIES
  }
}
