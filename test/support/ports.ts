import { randomInt } from 'node:crypto'
import { connect, createServer } from 'node:net'
import { waitFor } from './events.ts'

/** Below what systems give out by themselves (Linux from 32 768 on): neither `listen(0)` nor a client's own end gets one of these. */
const LOWEST = 12_000
const BAND = 1_000
const BANDS = 20
/**
 * Files that tap runs side by side have numbers of their own, and so ports of their own: where nobody is to listen, an application would
 * else meet, for a moment, the listener of somebody who looks for a free port.
 */
const first = LOWEST + Number(process.env.TAP_JOB_ID ?? 0) % BANDS * BAND
let next = randomInt(BAND)

/** A TCP port of 127.0.0.1 that nobody listens on, and that nobody else gets. */
export async function freePort (): Promise<number> {
  for (let tries = 0; tries < BAND; tries++) {
    const port = first + next++ % BAND
    if (await isFree(port)) return port
  }
  throw new Error(`No port from ${first} on is free`)
}

async function isFree (port: number): Promise<boolean> {
  const server = createServer()
  const free = await new Promise<boolean>(resolve => {
    server.once('error', () => { resolve(false) }).listen(port, '127.0.0.1', () => { resolve(true) })
  })
  await new Promise<void>(resolve => { server.close(() => { resolve() }) })
  return free
}

/** Resolves once somebody accepts connections on the port; `alive` throws to give up early. */
export async function waitForPort (port: number, alive: () => void = () => {}): Promise<void> {
  await waitFor(async () => {
    alive()
    return isListening(port)
  }, `a listener on port ${port}`)
}

/** Whether somebody accepts connections on the port. */
export async function isListening (port: number): Promise<boolean> {
  return new Promise(resolve => {
    const socket = connect({ port, host: '127.0.0.1' })
    socket.once('connect', () => { socket.destroy(); resolve(true) })
    socket.once('error', () => { resolve(false) })
  })
}
