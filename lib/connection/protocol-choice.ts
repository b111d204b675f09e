import type { ProtocolVersion } from '../wire/packet.ts'

/** So often in a row a broker that spoke a version may close without CONNACK: one that restarts does not for long. */
const SILENT_CLOSES = 5

/** Which MQTT version to ask for: the one that is set, or with `'auto'` 5, then 3.1.1. */
export class ProtocolChoice {
  /** The version is ours to choose. */
  readonly auto: boolean
  #version: ProtocolVersion
  #proven = false
  #silent = 0

  constructor (option: ProtocolVersion | 'auto') {
    this.auto = option === 'auto'
    this.#version = option === 'auto' ? 5 : option
  }

  /** The version of this connection, or of the next attempt. */
  get version (): ProtocolVersion {
    return this.#version
  }

  /** A connection came up: later attempts ask for the same. */
  succeeded (): void {
    this.#proven = true
    this.#silent = 0
  }

  /**
   * The broker refused the version (`certain`), or closed without CONNACK: the next attempt asks for the other one.
   * Returns true when that may be at once; back at the first one there is nobody who speaks either.
   */
  refused (certain: boolean): boolean {
    if (!this.auto) return false
    // A broker that spoke this version a moment ago is restarting rather than refusing it.
    if (!certain && this.#proven && ++this.#silent < SILENT_CLOSES) return false
    this.#proven = false
    this.#silent = 0
    this.#version = this.#version === 5 ? 4 : 5
    return this.#version === 4
  }
}
