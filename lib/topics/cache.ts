/** A generation is full with so many topics, or when they and what they matched weigh so much. */
const MAX_TOPICS = 5_000
const MAX_WEIGHT = 2_000_000
/** About what one match takes, in characters of a topic. */
const MATCH_WEIGHT = 100
/** A longer topic is not remembered: nobody uses it, but somebody may send it to fill the memory. */
const MAX_LENGTH = 1_024
/** Of the topics that were not found, one in so many is remembered. */
const SAMPLE = 8
/** After so many topics it is seen whether remembering them pays: one in so many has to be found again. */
const TRIAL = 65_536
const WORTH = 8
/** Where it does not, nothing is remembered nor looked up for so many topics. */
const REST = 4 * TRIAL

/**
 * What the last topics matched, in two generations: a full one becomes the old one, and what is found in the old one
 * moves on. A hit in the young one writes nothing, which is why this is faster than a list in order of use.
 *
 * To remember a topic costs more than to match it again. Only one in eight is therefore remembered: a topic that comes
 * often is soon among them, and those that come once cost little and push few others out. Where hardly any topic comes twice,
 * even looking for it is too dear, so the cache rests, and tries again later.
 */
export class MatchCache<M> {
  #young = new Map<string, readonly M[]>()
  #old = new Map<string, readonly M[]>()
  #weight = 0
  #missed = 0
  #asked = 0
  /** Until so many have been asked for. */
  #restsUntil = 0

  get (topic: string): readonly M[] | undefined {
    if (this.#asked++ < this.#restsUntil) return undefined
    if (this.#asked - this.#restsUntil > TRIAL) this.#judge()
    const young = this.#young.get(topic)
    if (young !== undefined) return young
    const old = this.#old.get(topic)
    if (old !== undefined) this.set(topic, old)
    return old
  }

  /** Whether the topic that `get` did not find is one of those to remember. */
  wants (): boolean {
    return this.#asked > this.#restsUntil && this.#missed++ % SAMPLE === 0
  }

  set (topic: string, matches: readonly M[]): void {
    const weight = topic.length + MATCH_WEIGHT * matches.length
    if (topic.length > MAX_LENGTH || weight > MAX_WEIGHT) return
    if (this.#young.size === MAX_TOPICS || this.#weight + weight > MAX_WEIGHT) {
      this.#old = this.#young
      this.#young = new Map()
      this.#weight = 0
    }
    this.#young.set(topic, matches)
    this.#weight += weight
  }

  #judge (): void {
    const found = TRIAL - this.#missed
    this.#asked = 0
    this.#missed = 0
    this.#restsUntil = found * WORTH < TRIAL ? REST : 0
    if (this.#restsUntil > 0) this.clear()
  }

  clear (): void {
    this.#young.clear()
    this.#old.clear()
    this.#weight = 0
  }
}
