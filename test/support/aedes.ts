import { createServer, type AddressInfo, type Socket } from 'node:net'
import { Aedes, type AedesOptions } from 'aedes'
import type { Owner } from './folder.ts'

/** A running aedes. */
export interface AedesOnTcp {
  readonly broker: Aedes
  readonly port: number
  readonly url: string
}

/** Starts an aedes on a free port of 127.0.0.1; it ends with the test. It speaks MQTT 3.1 and 3.1.1 only. */
export async function startAedes (t: Owner, options: AedesOptions = {}): Promise<AedesOnTcp> {
  const broker = await Aedes.createBroker(options)
  const sockets = new Set<Socket>()
  const server = createServer(socket => {
    sockets.add(socket)
    socket.once('close', () => { sockets.delete(socket) })
    broker.handle(socket)
  })
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject).listen(0, '127.0.0.1', resolve)
  })
  t.after(async () => {
    await new Promise<void>(resolve => { broker.close(resolve) })
    for (const socket of sockets) socket.destroy()
    await new Promise<void>(resolve => { server.close(() => { resolve() }) })
  })
  const { port } = server.address() as AddressInfo
  return { broker, port, url: `mqtt://127.0.0.1:${port}` }
}
