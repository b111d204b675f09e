import { restFor } from './backoff.ts'

/** A filter on its way out. */
export interface Leaving {
  readonly filter: string
  /** How many hang-ups may come while UNSUBSCRIBE is unanswered. */
  readonly tries: number
  /** How often it has been put off. */
  readonly rests: number
  /** On performance.now()'s clock: until then it is put off. */
  readonly until: number
  /** Nobody waits for the answer any more. */
  readonly done: () => void
}

/** After so many hang-ups in answer to UNSUBSCRIBE it is put off, and from then on after each: a network may have ended them all. */
const TRIES = 3

/** The filters that the broker still has, and nobody wants any more. */
export class Unwanted {
  readonly #leaving = new Map<string, Leaving>()
  /** Of those: UNSUBSCRIBE is to be sent on this connection, and was not yet. */
  readonly #unasked = new Set<Leaving>()
  /** Of those: copies of them come, and find no route, until it is time to ask again. */
  readonly #resting = new Set<Leaving>()
  /** Asked for on this connection, and has been put off before. */
  #alone: Leaving | undefined
  readonly #wait: number

  /** @param wait milliseconds until one that was put off is asked for again; it doubles with each time */
  constructor (wait: number) {
    this.#wait = wait
  }

  /** True while an UNSUBSCRIBE is unanswered. */
  get asking (): boolean {
    return this.#leaving.size > this.#unasked.size + this.#resting.size
  }

  /** True while some are put off. */
  get resting (): boolean {
    return this.#resting.size > 0
  }

  /**
   * Resolves when it is gone, or the connection is.
   *
   * @param shunned the broker has hung up in answer to SUBSCRIBE, and may do so again: it is put off behind the first hang-up
   */
  leave (filter: string, shunned: boolean, connected: boolean): Promise<void> {
    return new Promise(resolve => {
      this.#unasked.add(this.#add({ filter, tries: shunned ? 1 : TRIES, rests: 0, until: 0, done: resolve }))
      if (!connected) resolve()
    })
  }

  /**
   * The next to send UNSUBSCRIBE for. One that was put off goes alone, or all that it goes with would have to stay, too.
   *
   * @param unanswered how many packets wait for their answer
   */
  ask (unanswered: number): Leaving | undefined {
    const [leaving] = this.#unasked
    if (leaving === undefined || this.#alone !== undefined) return undefined
    if (leaving.rests > 0) {
      if (unanswered > 0) return undefined
      this.#alone = leaving
    }
    this.#unasked.delete(leaving)
    return leaving
  }

  /** The broker has answered; false when it was wanted again meanwhile, or asked for again on another connection. */
  left (leaving: Leaving): boolean {
    if (this.#alone === leaving) this.#alone = undefined
    return this.#leaving.get(leaving.filter) === leaving && this.#leaving.delete(leaving.filter)
  }

  /** It is wanted again; true when the broker may have it yet. */
  stay (filter: string): boolean {
    const leaving = this.#leaving.get(filter)
    if (leaving === undefined) return false
    leaving.done()
    this.#unasked.delete(leaving)
    this.#resting.delete(leaving)
    return this.#leaving.delete(filter)
  }

  /** The connection is gone; `hungUp` when it was not us who ended it. Returns those that are put off for the first time. */
  detach (hungUp: boolean): string[] {
    this.#alone = undefined
    const putOff: string[] = []
    for (const leaving of [...this.#leaving.values()]) {
      if (this.#resting.has(leaving)) continue
      const { filter, tries, rests, done } = leaving
      done()
      const left = hungUp && !this.#unasked.has(leaving) ? tries - 1 : tries
      if (left > 0) {
        this.#unasked.add(this.#add({ ...leaving, tries: left, done: noop }))
        continue
      }
      const until = performance.now() + restFor(rests, this.#wait)
      this.#resting.add(this.#add({ filter, tries: 1, rests: rests + 1, until, done: noop }))
      if (rests === 0) putOff.push(filter)
    }
    return putOff
  }

  /** Those whose time has come are asked for again. */
  resume (now: number): void {
    for (const leaving of this.#resting) {
      if (leaving.until > now) continue
      this.#resting.delete(leaving)
      this.#unasked.add(leaving)
    }
  }

  /** The broker has forgotten them. */
  clear (): void {
    this.#alone = undefined
    this.#leaving.clear()
    this.#unasked.clear()
    this.#resting.clear()
  }

  /** Nobody waits for them any more. */
  close (): void {
    for (const { done } of this.#leaving.values()) done()
  }

  #add (leaving: Leaving): Leaving {
    this.stay(leaving.filter)
    this.#leaving.set(leaving.filter, leaving)
    return leaving
  }
}

function noop (): void {}
