import { connect, createServer, type AddressInfo } from 'node:net'
import { waitFor } from './events.ts'

/** A TCP port of 127.0.0.1 that nobody listened on a moment ago. */
export async function freePort (): Promise<number> {
  const server = createServer()
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject).listen(0, '127.0.0.1', resolve)
  })
  const { port } = server.address() as AddressInfo
  await new Promise<void>(resolve => { server.close(() => { resolve() }) })
  return port
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
