import { Server, Socket } from 'node:net'
import { setTimeout as delay } from 'node:timers/promises'
import { pathToFileURL } from 'node:url'

/*
 * Runs one module of the documentation: node run-block.js <module>, and ends with code 0 when its top level has settled
 * and nothing has gone wrong for a while. Examples name the ports that a reader would use. So that they run beside
 * anything else, each of these stands for a free one here, and 1883 for the broker at BROKER_PORT.
 */

const IDLE = 200

interface Target { port?: number | string, host?: string }

const actual = new Map<number, number>([[1883, Number(process.env.BROKER_PORT ?? 1883)]])

const { listen } = Server.prototype
Server.prototype.listen = function (this: Server, ...args: unknown[]) {
  const wanted = portOf(args[0])
  if (wanted !== 0) {
    args[0] = withPort(args[0], 0)
    this.once('listening', () => {
      const address = this.address()
      if (typeof address === 'object' && address !== null) actual.set(wanted, address.port)
    })
  }
  return listen.apply(this, args as never)
} as typeof listen

const { connect } = Socket.prototype
Socket.prototype.connect = function (this: Socket, ...args: unknown[]) {
  // net.connect() hands over its arguments in an array that it has marked, so that one is changed in place.
  const holder = Array.isArray(args[0]) ? args[0] as unknown[] : args
  const port = actual.get(portOf(holder[0]))
  if (port !== undefined) holder[0] = withPort(holder[0], port)
  return connect.apply(this, args as never)
} as typeof connect

function portOf (target: unknown): number {
  const port = typeof target === 'object' && target !== null ? (target as Target).port : target
  return typeof port === 'number' || typeof port === 'string' ? Number(port) : 0
}

function withPort (target: unknown, port: number): unknown {
  return typeof target === 'object' ? { ...target, port } : port
}

const [, , file = ''] = process.argv
process.argv.splice(1, 1)
await import(pathToFileURL(file).href)
await delay(IDLE)
process.exit()
