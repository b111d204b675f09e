import { Duplex } from 'node:stream'

const HIGH_WATER_MARK = 64 * 1024

type Callback = (error?: Error | null) => void

/** Two streams, each reading what the other writes, that end as the two ends of a socket do. */
export function duplexPair (): [Duplex, Duplex] {
  const one = new Side()
  const other = new Side()
  one.link(other)
  other.link(one)
  return [one, other]
}

/*
 * Not stream.duplexPair(): there a side whose peer is destroyed hears nothing, hangs in end(), and is given the
 * writer's own memory.
 */
class Side extends Duplex {
  #peer: Side = this
  /** Continues a write of ours once the peer has read. */
  #resumeWrite: Callback | undefined
  #ended = false

  constructor () {
    super({ highWaterMark: HIGH_WATER_MARK, allowHalfOpen: false })
  }

  link (peer: Side): void {
    this.#peer = peer
  }

  override _read (): void {
    this.#peer.#resume()
  }

  override _write (chunk: Buffer, _encoding: string, done: Callback): void {
    const peer = this.#peer
    // As with a socket: what is written to somebody who has gone is lost, and our 'end' is on its way.
    if (peer.destroyed || peer.#ended) return done()
    // A copy, since packet ids are patched into frames in place and big frames are used again,
    // while the broker keeps views of what it read as retained messages.
    if (peer.push(Buffer.from(chunk))) done()
    else this.#resumeWrite = done
  }

  override _final (done: Callback): void {
    this.#peer.#end()
    done()
  }

  override _destroy (error: Error | null, done: Callback): void {
    this.#resume()
    this.#peer.#resume()
    // What has been written before is still read there, as after a FIN.
    this.#peer.#end()
    done(error)
  }

  #resume (): void {
    const done = this.#resumeWrite
    this.#resumeWrite = undefined
    done?.()
  }

  #end (): void {
    if (this.#ended || this.destroyed) return
    this.#ended = true
    this.push(null)
  }
}
