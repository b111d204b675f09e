import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import type { Counters, MqttPluginOptions, PublishOptions, RouteOptions, Status } from '../lib/index.ts'
import { ROOT } from './support/project.ts'

/*
 * The tables of the documentation name what the types name. The objects do not compile when a type has a name more or
 * one less.
 */

type Names<T> = Readonly<Record<keyof T, true>>

const pluginOptions: Names<MqttPluginOptions> = {
  url: true,
  protocol: true,
  host: true,
  port: true,
  path: true,
  username: true,
  password: true,
  prefix: true,
  credentials: true,
  clientId: true,
  protocolVersion: true,
  keepalive: true,
  connectTimeout: true,
  session: true,
  will: true,
  tls: true,
  reconnect: true,
  connect: true,
  waitForConnection: true,
  namespace: true,
  group: true,
  concurrency: true,
  order: true,
  ackOrder: true,
  handlerTimeout: true,
  inbox: true,
  outbox: true,
  publishTimeout: true,
  maxPayload: true,
  closeTimeout: true,
  workers: true,
  converters: true,
  embedded: true,
  client: true
}

const routeOptions: Names<RouteOptions> = {
  name: true,
  qos: true,
  absolute: true,
  group: true,
  ack: true,
  concurrency: true,
  order: true,
  handlerTimeout: true,
  parse: true,
  schema: true,
  retry: true,
  deadLetter: true,
  preHandler: true,
  onError: true,
  config: true,
  noLocal: true,
  retainAsPublished: true,
  retainHandling: true
}

const publishOptions: Names<PublishOptions> = {
  qos: true, retain: true, absolute: true, properties: true, timeout: true, signal: true
}

const status: Names<Status> = {
  state: true,
  connected: true,
  since: true,
  protocolVersion: true,
  lastError: true,
  outbox: true,
  inbox: true,
  workers: true,
  subscriptions: true,
  counters: true
}

const counters: Names<Counters> = {
  published: true,
  refused: true,
  received: true,
  handled: true,
  failed: true,
  unmatched: true,
  dropped: true,
  oversize: true,
  reconnects: true
}

const documented: ReadonlyArray<[document: string, heading: string, header: string, names: object]> = [
  ['docs/options.md', '# Options', 'option', pluginOptions],
  ['docs/topics.md', '## Routes', 'option', routeOptions],
  ['docs/lifecycle.md', '## Publishing', 'option', publishOptions],
  ['docs/lifecycle.md', '## States', '', status],
  ['docs/lifecycle.md', '## States', 'counter', counters]
]

for (const [document, heading, header, names] of documented) {
  t.test(`${document}, ${heading}, ${header}`, async t => {
    const found = firstColumn(section(document, heading), header)
    t.strictSame(found.sort(), Object.keys(names).sort())
  })
}

t.test('each option of register has a section, if only in a group', async t => {
  const text = readFileSync(join(ROOT, 'docs/options.md'), 'utf8')
  const links = [...text.matchAll(/^\| \[[^\]]+\]\(#([^)]+)\)/gm)].map(([, anchor]) => anchor)
  const headings = [...text.matchAll(/^## (.+)$/gm)].map(([, title]) => title!.toLowerCase().replaceAll(' ', '-'))
  t.strictSame([...new Set(links)], headings)
})

/** From a heading to the next. */
function section (document: string, heading: string): string {
  const text = readFileSync(join(ROOT, document), 'utf8')
  const start = text.indexOf(`${heading}\n`)
  if (start === -1) throw new Error(`${document} has no "${heading}"`)
  const end = text.indexOf('\n## ', start + heading.length)
  return text.slice(start, end === -1 ? undefined : end)
}

/** The names in the first column of the table with this header; one row may have several. */
function firstColumn (text: string, header: string): string[] {
  const table = text.slice(text.indexOf(header === '' ? '\n| | |\n' : `\n| ${header} |`)).trimStart()
  return table.slice(0, table.search(/\n(?!\|)/)).split('\n').slice(2)
    .flatMap(row => [...row.split('|')[1]!.matchAll(/`(\w+)`/g)].map(([, name]) => name!))
}
