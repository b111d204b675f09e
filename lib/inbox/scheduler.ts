import { Fifo } from '../fifo.ts'

/** One route's work on one message. It never throws and never rejects. */
export interface Job {
  readonly track: Track
  /** Jobs of one track and key run one after another, when the track keeps order. */
  readonly key: string
  run (): Promise<void> | undefined
  /** It has to wait: what it holds on to counts from here on. */
  keep (): void
  /** It is not needed any more, and must not run. */
  readonly dropped: boolean
}

/** A route, as the scheduler sees it. */
export class Track {
  readonly concurrency: number
  readonly ordered: boolean
  running = 0
  /** The keys that have a job running or waiting, with those that wait behind it. */
  readonly lanes = new Map<string, Fifo<Job>>()
  /** Jobs at the head of their lane that the track's own limit holds back. */
  readonly waiting = new Fifo<Job>()

  constructor (options: { concurrency: number, order: 'topic' | 'none' }) {
    this.concurrency = options.concurrency
    this.ordered = options.order === 'topic'
  }
}

/**
 * Runs jobs at once where it can, keeps those of one topic in order, and holds back what is over the limits: the
 * track's own, and the one for all tracks together.
 */
export class Scheduler {
  running = 0
  readonly #concurrency: number
  /** Jobs that the limit for all together holds back. */
  readonly #waiting = new Fifo<Job>()
  #stopped = false
  #quiet: Array<() => void> = []

  constructor (concurrency: number) {
    this.#concurrency = concurrency
  }

  /** Starts nothing more; what waits stays undone. */
  stop (): void {
    this.#stopped = true
  }

  /** Resolves when nothing runs. */
  quiet (): Promise<void> {
    if (this.running === 0) return Promise.resolve()
    return new Promise(resolve => { this.#quiet.push(resolve) })
  }

  /** Runs the job now or later. A handler that does not wait for anything is done when this returns. */
  add (job: Job): void {
    const { track } = job
    if (track.ordered) {
      const lane = track.lanes.get(job.key)
      if (lane !== undefined) {
        job.keep()
        lane.push(job)
        return
      }
    }
    if (!this.#mayRun(track)) {
      if (track.ordered) track.lanes.set(job.key, new Fifo())
      job.keep()
      this.#park(job)
      return
    }
    const pending = job.run()
    if (pending === undefined) return
    if (track.ordered) track.lanes.set(job.key, new Fifo())
    this.#follow(job, pending)
  }

  /** Takes out what was dropped: until its turn it would be kept, and more of it at each reconnect. */
  sweep (tracks: Iterable<Track>): void {
    for (const track of tracks) {
      for (const lane of track.lanes.values()) lane.replace(unlessDropped)
      track.waiting.replace(job => this.#undropped(job))
    }
    this.#waiting.replace(job => this.#undropped(job))
  }

  /** A job that waits for its lane too, or the next of its lane. */
  #undropped (job: Job): Job | undefined {
    return job.dropped ? this.#advance(job) : job
  }

  #mayRun (track: Track): boolean {
    return this.running < this.#concurrency && track.running < track.concurrency && !this.#stopped
  }

  #park (job: Job): void {
    if (job.track.running >= job.track.concurrency) job.track.waiting.push(job)
    else this.#waiting.push(job)
  }

  #follow (job: Job, pending: Promise<void>): void {
    this.running++
    job.track.running++
    void pending.then(() => {
      this.running--
      job.track.running--
      this.#next(job)
      if (this.running === 0) for (const resolve of this.#quiet.splice(0)) resolve()
    })
  }

  /**
   * A job has ended: what waits for its lane or its track stands in line behind what has waited for longer, so a busy
   * route does not keep the others from their turn. Iterative, however many end at once.
   */
  #next (ended: Job): void {
    const { track } = ended
    const waited = track.waiting.shift()
    if (waited !== undefined) this.#waiting.push(waited)
    const successor = this.#advance(ended)
    if (successor !== undefined) this.#waiting.push(successor)
    while (this.#waiting.length > 0 && this.running < this.#concurrency && !this.#stopped) this.#runLane(this.#waiting.shift()!)
  }

  /** Takes a lane on until a job has to wait for something. */
  #runLane (first: Job): void {
    for (let job: Job | undefined = first; job !== undefined; job = this.#advance(job)) {
      if (!this.#mayRun(job.track)) {
        this.#park(job)
        return
      }
      const pending = job.run()
      if (pending !== undefined) {
        this.#follow(job, pending)
        return
      }
    }
  }

  #advance (ended: Job): Job | undefined {
    const { track, key } = ended
    if (!track.ordered) return undefined
    const lane = track.lanes.get(key)
    const next = lane?.shift()
    if (next === undefined) track.lanes.delete(key)
    return next
  }
}

function unlessDropped (job: Job): Job | undefined {
  return job.dropped ? undefined : job
}
