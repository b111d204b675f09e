/** What is sent, and may be what a broker answers by hanging up. */
export interface Suspect {
  /** How often in a row the broker has hung up while it was unanswered. */
  tries: number
  /** It was the only one unanswered when the broker hung up. */
  suspected: boolean
}

/** A packet is sent so often before it is taken for what the broker hangs up on. */
const TRIES = 3
/** The same on a network that ends connections for no reason of ours. */
const TRIES_WHEN_FLAPPING = 6
/** The same where the answer lay behind so many messages that a session has brought again, and may not have come in time. */
const TRIES_BEHIND_MANY = 20
const MANY = 50
/** A connection that held this long, in milliseconds: the network does not flap. */
const STABLE = 10_000

/** Finds the packet that a broker answers by hanging up, among those that merely were there. */
export class Suspects<T extends Suspect> {
  /** What is unanswered is sent again one by one. */
  probing = false
  /** A suspect was innocent: connections end by themselves here. */
  #flapping = false
  /** The last answer on this connection was a refusal. */
  #refused = false
  #attachedAt = 0

  attached (): void {
    this.#refused = false
    this.#attachedAt = performance.now()
  }

  detached (): void {
    if (performance.now() - this.#attachedAt >= STABLE) this.#flapping = false
  }

  /**
   * The broker hung up while these were unanswered, the oldest first. With several it could be for any of them; when the
   * oldest has been there twice, they go one by one the next time. Returns the one that was alone and has been tried often
   * enough. Behind a refusal nobody is accused: some brokers end the connection after one (mosquitto 2.0.11 with
   * max_queued_messages 0), and whoever is unanswered then merely stood next in line.
   *
   * @param redelivered how many messages of a kept session came again on that connection
   */
  accuse (unanswered: readonly T[], redelivered: number): T | undefined {
    if (this.#refused) return undefined
    const tries = redelivered > MANY ? TRIES_BEHIND_MANY : this.#flapping ? TRIES_WHEN_FLAPPING : TRIES
    for (const suspect of unanswered) suspect.tries++
    const [oldest] = unanswered
    if (oldest === undefined) return undefined
    this.probing = oldest.tries >= (redelivered > MANY ? tries : TRIES) - 1
    if (unanswered.length !== 1) return undefined
    oldest.suspected = true
    return oldest.tries >= tries ? oldest : undefined
  }

  /** The broker has answered it; `refused` when with a no. */
  acquit (suspect: T, refused: boolean): void {
    this.#refused = refused
    if (suspect.suspected) this.#flapping = true
    suspect.suspected = false
    suspect.tries = 0
  }
}
