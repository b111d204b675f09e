import http from 'node:http'
import net from 'node:net'
import t from 'tap'
import { createTransport, type Endpoint } from '../../lib/connection/transport.ts'
import { acceptWebSocket } from '../../lib/ws.ts'
import { nextEvent, waitFor } from '../support/events.ts'

async function listen (t: { after (fn: () => unknown): unknown }, server: net.Server, host = '127.0.0.1'): Promise<number> {
  await new Promise<void>(resolve => { server.listen(0, host, resolve) })
  t.after(() => server.close())
  return (server.address() as net.AddressInfo).port
}

const noTls = (): never => { throw new Error('asked for TLS') }

for (const [host, address] of [['127.0.0.1', '127.0.0.1'], ['::1', '::1'], ['[::1]', '::1'], ['localhost', '127.0.0.1']] as const) {
  t.test(`mqtt to ${host}`, async t => {
    const sockets: net.Socket[] = []
    const server = net.createServer(socket => { sockets.push(socket); socket.pipe(socket) })
    const listening = await listen(t, server, address).catch(() => 0)
    if (listening === 0) {
      t.comment('no IPv6 here')
      return
    }
    const stream = createTransport({ protocol: 'mqtt', host, port: listening, path: '' }, noTls)(5)
    stream.write('echo')
    const [data] = await nextEvent(stream, 'data')
    t.equal(String(data), 'echo')
    stream.destroy()
    await waitFor(() => sockets[0]!.closed, 'the end')
  })
}

t.test('successive small writes are not kept together', async t => {
  const server = net.createServer(socket => { socket.resume() })
  const port = await listen(t, server)
  const stream = createTransport({ protocol: 'mqtt', host: '127.0.0.1', port, path: '' }, noTls)(5) as net.Socket
  await nextEvent(stream, 'connect')
  // Three writes in a row would take 40 ms and more with Nagle's algorithm and delayed acknowledgements.
  for (let i = 0; i < 3; i++) await new Promise(resolve => { stream.write('x', resolve) })
  t.pass()
  stream.destroy()
})

t.test('nobody there: an error of the stream', async t => {
  const server = net.createServer()
  const port = await listen(t, server)
  await new Promise(resolve => { server.close(resolve) })
  for (const protocol of ['mqtt', 'mqtts', 'ws', 'wss'] as const) {
    const stream = createTransport({ protocol, host: '127.0.0.1', port, path: '/' }, () => ({}))(5)
    const [error] = await nextEvent(stream, 'error')
    t.match(error, { code: 'ECONNREFUSED' }, protocol)
  }
})

for (const [version, protocol] of [[5, 'mqtt'], [4, 'mqtt'], [3, 'mqttv3.1']] as const) {
  t.test(`ws, version ${version}: path, subprotocol, bytes both ways`, async t => {
    const server = http.createServer()
    const requests: http.IncomingMessage[] = []
    const listener = acceptWebSocket(server, '/mqtt%20x', (stream, request) => {
      requests.push(request)
      stream.on('error', () => {})
      stream.pipe(stream)
    })
    t.after(() => listener.close())
    const port = await listen(t, server)
    const endpoint: Endpoint = { protocol: 'ws', host: '127.0.0.1', port, path: '/mqtt%20x' }
    const stream = createTransport(endpoint, noTls)(version)
    stream.write('written before it is open')
    const [data] = await nextEvent(stream, 'data')
    t.equal(String(data), 'written before it is open')
    t.equal(requests[0]!.headers['sec-websocket-protocol'], protocol)
    t.equal(requests[0]!.headers['sec-websocket-extensions'], undefined, 'no compression')
    stream.destroy()
    const wrong = createTransport({ ...endpoint, path: '/other' }, noTls)(version)
    const [error] = await nextEvent(wrong, 'error')
    t.match(error, { message: /404/ })
  })
}

t.test('TLS options are asked for each connection, and one that fails is an exception', async t => {
  let asked = 0
  const open = createTransport({ protocol: 'mqtts', host: '127.0.0.1', port: 1, path: '' }, () => {
    if (++asked === 2) throw new Error('no such file')
    return {}
  })
  open(5).on('error', () => {})
  t.throws(() => open(5), { message: 'no such file' })
})
