import t from 'tap'
import { connectClient, refusal } from '../support/client.ts'
import { nextEvent, waitFor } from '../support/events.ts'
import { connectInMemory, startEmbedded } from './support.ts'

const SECRET = 'hunter2-secret'

t.test('authenticate', async t => {
  const asked: unknown[] = []
  const { broker, url, logger } = await startEmbedded(t, {
    port: 0,
    authenticate (client) {
      asked.push(client)
      if (client.username === 'throws') throw new Error(`no match for ${client.password ?? ''}`)
      if (client.username === 'rejects') return Promise.reject(new Error(`no match for ${client.password ?? ''}`))
      if (client.username === 'truthy') return 'yes' as unknown as boolean
      if (client.username === 'later') return Promise.resolve(client.password === SECRET)
      return client.password === SECRET
    }
  })
  await connectClient(t, url, { username: 'dev', password: SECRET, clientId: 'd1' })
  t.strictSame(asked, [{ clientId: 'd1', username: 'dev', password: SECRET }])
  await connectClient(t, url, { username: 'later', password: SECRET })
  t.match(await refusal(t, url), { code: 5 }, 'anonymous')
  t.match(asked.at(-1), { username: undefined, password: undefined })
  for (const username of ['dev', 'later']) t.match(await refusal(t, url, { username, password: 'wrong' }), { code: 5 })
  for (const username of ['throws', 'rejects', 'truthy']) {
    t.match(await refusal(t, url, { username, password: SECRET }), { code: 5 }, username)
  }
  const before = asked.length
  await connectInMemory(t, broker)
  t.equal(asked.length, before, 'the application is not asked')
  t.match(logger.text(), /authenticate failed/)
  t.notMatch(logger.text(), new RegExp(SECRET))
})

t.test('nobody takes over the client id of the application', async t => {
  const { broker, url } = await startEmbedded(t, { port: 0 })
  const app = await connectInMemory(t, broker, { clientId: 'the-app' })
  t.match(await refusal(t, url, { clientId: 'the-app' }), { code: 2 })
  await app.client.publishAsync('still', 'here', { qos: 1 })
  app.client.end(true)
  await nextEvent(app.client, 'close')
  await connectInMemory(t, broker, { clientId: 'the-app' })
})

t.test('authorizePublish', async t => {
  const asked: unknown[] = []
  const { broker, url, logger } = await startEmbedded(t, {
    port: 0,
    authenticate: () => true,
    authorizePublish (client, message) {
      asked.push([client, { ...message, payload: message.payload.toString() }])
      if (message.topic === 'throws') throw new Error('oops')
      return message.topic.startsWith('mine/') || Promise.resolve(message.topic === 'later')
    }
  })
  const app = await connectInMemory(t, broker)
  const inbox = await app.messages('#', { qos: 2 })
  const options = { username: 'dev', clientId: 'd1' }

  const allowed = await connectClient(t, url, options)
  await allowed.client.publishAsync('mine/1', 'hello', { qos: 1, retain: true })
  t.strictSame(asked[0], [{ clientId: 'd1', username: 'dev' }, { topic: 'mine/1', payload: 'hello', qos: 1, retain: true }])
  await allowed.client.publishAsync('later', '', { qos: 2 })
  allowed.client.end(true)

  for (const topic of ['theirs', 'throws', '$SYS/spoofed/new/clients']) {
    for (const qos of [0, 1, 2] as const) {
      const { client } = await connectClient(t, url, options)
      const closed = nextEvent(client, 'close')
      client.publish(topic, '', { qos }, () => {})
      await closed
    }
  }
  const before = asked.length
  await app.client.publishAsync('own', '', { qos: 1 })
  t.equal(asked.length, before, 'the application is not asked')
  t.strictSame((await inbox.first(3)).map(({ topic }) => topic), ['mine/1', 'later', 'own'])
  t.match(logger.text(), /authorizePublish failed/)
})

t.test('a will is a publish too', async t => {
  const { broker, url } = await startEmbedded(t, {
    port: 0, authorizePublish: (_client, { topic, payload }) => topic === 'mine' && payload.toString() === 'gone'
  })
  const app = await connectInMemory(t, broker)
  const inbox = await app.messages('#')
  for (const topic of ['theirs', 'mine']) {
    const { client } = await connectClient(t, url, { will: { topic, payload: Buffer.from('gone'), qos: 0, retain: false } })
    client.stream.destroy()
  }
  t.strictSame((await inbox.first(1)).map(({ topic }) => topic), ['mine'])
  t.equal(inbox.all.length, 1)
})

t.test('slow answers do not change the order of publishes', async t => {
  const { broker, url } = await startEmbedded(t, {
    port: 0,
    authorizePublish: (_client, { payload }) => {
      const n = Number(payload)
      return n % 3 === 0 ? true : new Promise(resolve => { setTimeout(resolve, n % 3 === 1 ? 20 : 1, true) })
    }
  })
  const app = await connectInMemory(t, broker)
  const inbox = await app.messages('n')
  const { client } = await connectClient(t, url)
  for (let n = 0; n < 30; n++) client.publish('n', String(n))
  t.strictSame((await inbox.first(30)).map(({ text }) => Number(text)), Array.from({ length: 30 }, (_, n) => n))
})

t.test('authorizeSubscribe', async t => {
  const asked: unknown[] = []
  const { broker, url, logger } = await startEmbedded(t, {
    port: 0,
    authorizeSubscribe (client, subscription) {
      asked.push([client, subscription])
      if (subscription.filter === 'throws') throw new Error('oops')
      return subscription.filter.startsWith('mine/') || Promise.resolve(subscription.filter === 'later')
    }
  })
  const { client } = await connectClient(t, url, { clientId: 'd1' })
  const granted = await suback(client, { 'mine/#': { qos: 1 }, theirs: { qos: 1 }, later: { qos: 2 }, throws: { qos: 0 } })
  t.strictSame(granted, [1, 0x80, 2, 0x80])
  t.strictSame(asked[0], [{ clientId: 'd1', username: undefined }, { filter: 'mine/#', qos: 1 }])
  t.match(logger.text(), /authorizeSubscribe failed/)

  const received: string[] = []
  client.on('message', topic => received.push(topic))
  const app = await connectInMemory(t, broker)
  const before = asked.length
  await app.messages('anything')
  t.equal(asked.length, before, 'the application is not asked')
  for (const topic of ['theirs', 'throws', 'mine/1', 'later']) await app.client.publishAsync(topic, '', { qos: 1 })
  await waitFor(() => received.length >= 2, 'both messages')
  t.strictSame(received, ['mine/1', 'later'])
})

t.test('a kept session holds nothing of a filter that was refused', async t => {
  let allowed = (filter: string): boolean | Promise<boolean> => filter === 'mine'
  const { broker, url } = await startEmbedded(t, { port: 0, authorizeSubscribe: (_client, { filter }) => allowed(filter) })
  const options = { clientId: 'd1', clean: false }
  const first = await connectClient(t, url, options)
  // The answer about 'theirs' comes when 'mine' was granted, and the SUBSCRIBE stored, long since.
  allowed = filter => filter === 'mine' || new Promise(resolve => { setTimeout(resolve, 30, false) })
  const answer = suback(first.client, { mine: { qos: 1 }, theirs: { qos: 1 } })
  const app = await connectInMemory(t, broker)
  await app.client.publishAsync('theirs', 'while it is asked', { qos: 1 })
  t.strictSame(await answer, [1, 0x80])
  await first.client.endAsync()

  for (const topic of ['theirs', 'mine']) await app.client.publishAsync(topic, '', { qos: 1 })
  allowed = () => true
  const asked = await collect(t, url, options, 'mine')
  t.strictSame(asked, ['mine'])

  // What was granted once and is refused now is not restored, and nothing more is queued for it.
  allowed = () => false
  await (await connectClient(t, url, options)).client.endAsync()
  await app.client.publishAsync('mine', '', { qos: 1 })
  allowed = () => true
  t.strictSame(await collect(t, url, options, undefined), [])
})

type Owner = Parameters<typeof connectClient>[0]
type ClientOptions = Parameters<typeof connectClient>[2]

/** What a kept session brings: all that came before a message that is sent last. */
async function collect (t: Owner, url: string, options: ClientOptions, last: string | undefined): Promise<string[]> {
  const mqtt = (await import('mqtt')).default
  const client = mqtt.connect(url, { reconnectPeriod: 0, ...options })
  t.after(() => { client.end(true) })
  const topics: string[] = []
  client.on('message', topic => topics.push(topic))
  await nextEvent(client, 'connect')
  if (last === undefined) {
    await client.publishAsync('done', '', { qos: 1 })
    await new Promise(resolve => setTimeout(resolve, 50))
  } else {
    await waitFor(() => topics.includes(last), `a message of ${last}`)
  }
  await client.endAsync()
  return topics
}

type Client = Awaited<ReturnType<typeof connectClient>>['client']

/** The codes of the SUBACK, which mqtt.js turns into an error when one of them is a refusal. */
async function suback (client: Client, filters: Record<string, { qos: 0 | 1 | 2 }>): Promise<unknown> {
  const answer = new Promise(resolve => {
    client.on('packetreceive', packet => { if (packet.cmd === 'suback') resolve(packet.granted) })
  })
  client.subscribe(filters, () => {})
  return answer
}
