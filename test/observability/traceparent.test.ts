import type { FastifyInstance } from 'fastify'
import { Piscina } from 'piscina'
import t, { type Test } from 'tap'
import { poolHandler, type Handler } from '../../lib/index.ts'
import { buildApp, connect } from '../support/app.ts'
import { connectClient } from '../support/client.ts'
import { waitFor } from '../support/events.ts'
import { mosquittoMissing, startMosquitto } from '../support/mosquitto.ts'
import { startTracer, type Span, type Tracer } from './tracer.ts'

/* W3C trace context over MQTT 5: nothing but the user property knows, on the other side of the broker, what a message belongs to. */

const skip = mosquittoMissing()
const TRACES = 20

interface Shop {
  url: string
  shop: FastifyInstance
  tracer: Tracer
  /** The spans in which bills were received, by number. */
  bills: Map<number, Span | undefined>
}

/** One application sends orders and gets bills, another one writes them. */
async function open (t: Test, handler: Handler<'order/<int:n>'>): Promise<Shop> {
  const { url } = await startMosquitto(t)
  const { app: shop } = await buildApp(t, { url, protocolVersion: 5 })
  const { app: office } = await buildApp(t, { url, protocolVersion: 5 })
  const tracer = startTracer(t)
  const bills = new Map<number, Span | undefined>()
  office.mqtt.topic('order/<int:n>', { qos: 1 }, handler)
  shop.mqtt.topic('bill/<int:n>', { qos: 1 }, async ({ params }) => {
    await new Promise(resolve => { setImmediate(resolve) })
    bills.set(params.n, tracer.current())
  })
  await connect(shop)
  await connect(office)
  return { url, shop, tracer, bills }
}

/** From this span up to the one without a parent. */
function path (spans: readonly Span[], span: Span | undefined): string[] {
  const names: string[] = []
  for (let at = span; at !== undefined; at = spans.find(({ id }) => id === at!.parent)) names.push(at.name)
  return names
}

t.test('there and back again, many at once', { skip }, async t => {
  const { shop, tracer, bills } = await open(t, async function ({ params }) {
    await new Promise(resolve => { setImmediate(resolve) })
    await this.mqtt.publish(`bill/${params.n}`, '', { qos: 1 })
  })
  const roots = await Promise.all(Array.from({ length: TRACES }, (_, n) => tracer.root(`request ${n}`, async () => {
    await shop.mqtt.publish(`order/${n}`, '', { qos: 1 })
    return tracer.current()!
  })))
  await waitFor(() => bills.size === TRACES, 'the bills')
  for (const [n, root] of roots.entries()) {
    t.strictSame(path(tracer.spans, bills.get(n)), ['handle bill/<int:n>', 'publish', 'handle order/<int:n>', 'publish', `request ${n}`])
    t.equal(bills.get(n)!.trace, root.trace)
  }
  t.equal(tracer.spans.length, TRACES * 5)
  t.equal(tracer.current(), undefined)
  t.comment(`${TRACES} traces of ${tracer.spans.length / TRACES} spans`)
})

t.test('a request, its handler and its reply', { skip }, async t => {
  const seen: Array<Span | undefined> = []
  const { shop, tracer } = await open(t, async () => { seen.push(tracer.current()); return 'ok' })
  const reply = await tracer.root('request', () => shop.mqtt.request('order/1'))
  t.equal(reply.text(), 'ok')
  t.strictSame(path(tracer.spans, seen[0]), ['handle order/<int:n>', 'publish', 'request'])
  const last = tracer.spans.at(-1)
  t.match(reply.properties.userProperties, { traceparent: `00-${last!.trace}-${last!.id}-01` })
  t.strictSame(path(tracer.spans, last), ['publish', 'handle order/<int:n>', 'publish', 'request'])
})

t.test('a message from somebody who knows nothing of traces begins one', { skip }, async t => {
  const { url, tracer, bills } = await open(t, () => {})
  const { client } = await connectClient(t, url, { protocolVersion: 5 })
  await client.publishAsync('bill/1', '', { qos: 1 })
  await client.publishAsync('bill/2', '', { qos: 1, properties: { userProperties: { traceparent: ['a', 'b'] } } })
  await waitFor(() => bills.size === 2, 'both')
  t.strictSame([...bills.values()].map(span => path(tracer.spans, span)), [['handle bill/<int:n>'], ['handle bill/<int:n>']])
})

t.test('a task of a pool gets the property, and gives it on itself', { skip }, async t => {
  const pool = new Piscina({ filename: new URL('./fixtures/traced-task.js', import.meta.url).href, maxThreads: 1 })
  t.after(() => pool.destroy())
  const { shop, tracer, bills } = await open(t, poolHandler(pool) as Handler<'order/<int:n>'>)
  await tracer.root('request', () => shop.mqtt.publish('order/1', '', { qos: 1 }))
  await waitFor(() => bills.size === 1, 'the bill')
  // It has given on what it was given: the bill's parent is what the order's is.
  t.strictSame(path(tracer.spans, bills.get(1)), ['handle bill/<int:n>', 'publish', 'request'])
})
