import { execFileSync, spawn, type ChildProcess } from 'node:child_process'
import { existsSync, writeFileSync } from 'node:fs'
import { delimiter, join } from 'node:path'
import { withinTime } from './events.ts'
import { temporaryFolder, type Owner } from './folder.ts'
import { freePort, waitForPort } from './ports.ts'

/** Debian keeps the broker out of a plain user's PATH. */
const PROGRAM_FOLDERS = [...(process.env.PATH ?? '').split(delimiter), '/usr/sbin', '/usr/local/sbin', '/opt/homebrew/sbin']
const LIBRARY_FOLDERS = [
  '/usr/lib', '/usr/lib64', '/usr/local/lib', '/opt/homebrew/lib',
  '/usr/lib/x86_64-linux-gnu', '/usr/lib/aarch64-linux-gnu', '/usr/lib/arm-linux-gnueabihf'
]
const LOG_BYTES = 1024 * 1024

/** How the broker is configured. */
export interface MosquittoOptions {
  /** Keeps sessions and retained messages over `restart()`. */
  persistence?: boolean
  /** Further lines of the configuration file; they win over the defaults here. */
  config?: string[]
  /** The content of an acl_file. */
  acl?: string
  /** Names and passwords; anonymous clients are refused then. */
  users?: Record<string, string>
  /** Serves TLS in place of cleartext; each is a file. */
  tls?: { ca: string, cert: string, key: string, requireClientCertificate?: boolean }
  /** Opens a WebSocket listener too. */
  wsPort?: boolean
  /** Loads the dynamic-security plugin, with an administrator `admin` / `admin-password`. */
  dynsec?: boolean
  maxPacketSize?: number
}

/** A running mosquitto. Every method resolves when what it asks for is so. */
export interface Mosquitto {
  readonly port: number
  /** `mqtt://` or `mqtts://`. */
  readonly url: string
  /** `ws://` or `wss://`, with `wsPort`. */
  readonly wsUrl: string | undefined
  readonly pid: number
  /** Ends the process and starts it again on the same ports. */
  restart (signal?: NodeJS.Signals): Promise<void>
  start (): Promise<void>
  stop (signal?: NodeJS.Signals): Promise<void>
  /** `stop('SIGKILL')`: nothing is saved. */
  kill (): Promise<void>
  /** Freezes the process: its sockets stay open and nobody answers. */
  pause (): void
  resume (): void
  /** Rewrites the acl_file and has the broker read it again. */
  setAcl (acl: string): void
  /** What the broker wrote, of all its runs. */
  log (): string
}

export const DYNSEC_ADMIN = { username: 'admin', password: 'admin-password' } as const

/**
 * Why tests on mosquitto are skipped, or false when it is there: `{ skip: mosquittoMissing() }`.
 * On CI a missing broker is a failure, so that nothing is skipped unseen.
 */
export function mosquittoMissing (): string | false {
  if (findProgram('mosquitto') !== undefined) return false
  const message = 'mosquitto is not installed'
  if (process.env.CI === 'true') throw new Error(message)
  return message
}

/** Starts a mosquitto on free ports of 127.0.0.1; it ends with the test. */
export async function startMosquitto (t: Owner, options: MosquittoOptions = {}): Promise<Mosquitto> {
  const broker = new MosquittoProcess(temporaryFolder(t), options)
  t.after(() => broker.kill())
  for (let attempt = 1; ; attempt++) {
    try {
      await broker.start()
      return broker
    } catch (error) {
      // Somebody may take a free port between our asking for it and the broker's.
      if (attempt === 5 || !broker.log().includes('Address already in use')) throw error
      broker.forgetPorts()
    }
  }
}

class MosquittoProcess implements Mosquitto {
  #port = 0
  #wsPort = 0
  #child: ChildProcess | undefined
  #exited: Promise<void> = Promise.resolve()
  #log = ''
  readonly #folder: string
  readonly #options: MosquittoOptions

  constructor (folder: string, options: MosquittoOptions) {
    this.#folder = folder
    this.#options = options
    if (options.acl !== undefined) writeFileSync(join(folder, 'acl'), options.acl)
    if (options.users !== undefined) this.#writePasswords(options.users)
    if (options.dynsec === true) {
      run('mosquitto_ctrl', ['dynsec', 'init', join(folder, 'dynsec.json'), DYNSEC_ADMIN.username, DYNSEC_ADMIN.password])
    }
  }

  get port (): number { return this.#port }

  get url (): string {
    // The certificates of tests are made out to localhost.
    return this.#options.tls === undefined ? `mqtt://127.0.0.1:${this.#port}` : `mqtts://localhost:${this.#port}`
  }

  get wsUrl (): string | undefined {
    if (this.#wsPort === 0) return undefined
    return this.#options.tls === undefined ? `ws://127.0.0.1:${this.#wsPort}` : `wss://localhost:${this.#wsPort}`
  }

  get pid (): number { return this.#running().pid as number }

  forgetPorts (): void {
    this.#port = this.#wsPort = 0
    this.#log = ''
  }

  async start (): Promise<void> {
    if (this.#child !== undefined) return
    this.#port ||= await freePort()
    if (this.#options.wsPort === true) this.#wsPort ||= await freePort()
    const file = join(this.#folder, 'mosquitto.conf')
    writeFileSync(file, this.#configuration().join('\n') + '\n')

    const child = spawn(findProgram('mosquitto') ?? 'mosquitto', ['-c', file], { stdio: ['ignore', 'pipe', 'pipe'] })
    const endWithUs = (): void => { child.kill('SIGKILL') }
    process.once('exit', endWithUs)
    this.#child = child
    this.#exited = new Promise(resolve => {
      const ended = (): void => {
        process.removeListener('exit', endWithUs)
        if (this.#child === child) this.#child = undefined
        resolve()
      }
      child.once('close', ended)
      child.once('error', error => { this.#note(String(error)); ended() })
    })
    child.stdout.on('data', (text: Buffer) => { this.#note(text.toString()) })
    child.stderr.on('data', (text: Buffer) => { this.#note(text.toString()) })

    const alive = (): void => {
      if (this.#child !== child) throw new Error(`mosquitto ended at once:\n${this.#log}`)
    }
    await waitForPort(this.#port, alive)
    if (this.#wsPort !== 0) await waitForPort(this.#wsPort, alive)
  }

  async stop (signal: NodeJS.Signals = 'SIGTERM'): Promise<void> {
    const child = this.#child
    if (child === undefined) return
    child.kill(signal)
    // A frozen process takes no notice of SIGTERM before it runs again.
    child.kill('SIGCONT')
    await withinTime(this.#exited, `the end of mosquitto (${child.pid})`)
  }

  async kill (): Promise<void> { await this.stop('SIGKILL') }

  async restart (signal?: NodeJS.Signals): Promise<void> {
    await this.stop(signal)
    await this.start()
  }

  pause (): void { this.#running().kill('SIGSTOP') }

  resume (): void { this.#running().kill('SIGCONT') }

  setAcl (acl: string): void {
    writeFileSync(join(this.#folder, 'acl'), acl)
    this.#running().kill('SIGHUP')
  }

  log (): string { return this.#log }

  #running (): ChildProcess {
    if (this.#child === undefined) throw new Error('mosquitto is not running')
    return this.#child
  }

  #note (text: string): void {
    this.#log = (this.#log + text).slice(-LOG_BYTES)
  }

  #writePasswords (users: Record<string, string>): void {
    const file = join(this.#folder, 'passwords')
    writeFileSync(file, '')
    for (const [name, password] of Object.entries(users)) run('mosquitto_passwd', ['-b', file, name, password])
  }

  #configuration (): string[] {
    const { persistence = false, config = [], acl, users, dynsec = false, maxPacketSize } = this.#options
    const given = new Set(config.map(line => line.trim().split(/\s/, 1)[0]))
    const defaults = [
      // As root it would drop to the user mosquitto, who cannot write here, and save nothing without a word.
      ...(process.getuid?.() === 0 ? ['user root'] : []),
      // Not stdout: in a pipe that comes only when the broker ends.
      'log_dest stderr',
      'set_tcp_nodelay true',
      // The default acknowledges and drops past 1000: a ledger would blame the wrong side.
      'max_queued_messages 0',
      `allow_anonymous ${String(users === undefined && !dynsec)}`,
      `persistence ${String(persistence)}`,
      ...(persistence ? [`persistence_location ${this.#folder}/`] : []),
      ...(acl === undefined ? [] : [`acl_file ${join(this.#folder, 'acl')}`]),
      ...(users === undefined ? [] : [`password_file ${join(this.#folder, 'passwords')}`]),
      ...(maxPacketSize === undefined ? [] : [`max_packet_size ${maxPacketSize}`]),
      ...(dynsec ? [`plugin ${findDynsec()}`, `plugin_opt_config_file ${join(this.#folder, 'dynsec.json')}`] : [])
    ]
    return [
      ...defaults.filter(line => !given.has(line.split(' ', 1)[0])),
      ...config.filter(line => !isOfListener(line)),
      ...this.#listener(this.#port),
      ...(this.#wsPort === 0 ? [] : [...this.#listener(this.#wsPort), 'protocol websockets'])
    ]
  }

  #listener (port: number): string[] {
    const { tls, config = [] } = this.#options
    return [
      `listener ${port} 127.0.0.1`,
      ...config.filter(isOfListener),
      ...(tls === undefined
        ? []
        : [
            `cafile ${tls.ca}`, `certfile ${tls.cert}`, `keyfile ${tls.key}`,
            `require_certificate ${String(tls.requireClientCertificate ?? false)}`
          ])
    ]
  }
}

/** Lines that mosquitto wants after their `listener`. */
function isOfListener (line: string): boolean {
  return /^\s*(max_connections|max_qos|max_topic_alias|mount_point|tls_version|use_identity_as_username|use_username_as_clientid|ciphers)\s/.test(line)
}

function findProgram (name: string): string | undefined {
  return PROGRAM_FOLDERS.map(folder => join(folder, name)).find(existsSync)
}

function findDynsec (): string {
  const found = LIBRARY_FOLDERS.map(folder => join(folder, 'mosquitto_dynamic_security.so')).find(existsSync)
  if (found === undefined) throw new Error('mosquitto_dynamic_security.so was not found')
  return found
}

function run (program: string, args: string[]): void {
  execFileSync(findProgram(program) ?? program, args, { stdio: 'pipe' })
}
