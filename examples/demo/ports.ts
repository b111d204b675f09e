import { createServer } from 'node:net'

/** The port if it can be had on this host, else 0: the system then chooses a free one. */
export async function freeOrAny (port: number, host: string): Promise<number> {
  const server = createServer()
  return await new Promise(resolve => {
    server.once('error', () => { resolve(0) })
    server.listen({ port, host }, () => { server.close(() => { resolve(port) }) })
  })
}
