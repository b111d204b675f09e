import Fastify from 'fastify'
import t from 'tap'
import multimqtt, { type MqttPluginOptions } from '../lib/index.ts'
import { resolveOptions } from '../lib/options/resolve.ts'

/** Options that TypeScript would not let through. */
function resolve (options: unknown): ReturnType<typeof resolveOptions> {
  return resolveOptions(options as MqttPluginOptions)
}

function refusal (options: unknown): { code?: string, message: string } {
  try {
    resolve(options)
  } catch (error) {
    return error as Error
  }
  return { message: 'accepted' }
}

t.test('the defaults of the contract', async t => {
  const options = resolve({})
  t.match(options, {
    endpoint: { protocol: 'mqtt', host: '127.0.0.1', port: 1883 },
    protocolVersion: 'auto',
    keepalive: 15,
    connectTimeout: 10_000,
    session: { clean: true },
    reconnect: { min: 100, max: 30_000 },
    connect: true,
    waitForConnection: 0,
    prefix: '',
    concurrency: 64,
    order: 'topic',
    ackOrder: 'received',
    handlerTimeout: 0,
    inbox: { maxMessages: 10_000, maxBytes: 64 * 1024 * 1024 },
    outbox: { maxMessages: 10_000, maxBytes: 64 * 1024 * 1024, inflight: 500 },
    publishTimeout: 30_000,
    maxPayload: 1024 * 1024,
    closeTimeout: 5_000,
    workers: { window: 1024 * 1024 }
  })
  t.not(resolve({}).clientId, options.clientId)
  t.match(options.clientId, new RegExp(`^fastify-.+-${process.pid}-`))
})

t.test('bad options are refused by their name, and never by their value', async t => {
  const bad: Array<[option: string, options: unknown]> = [
    ['unknown', { unknown: 1 }],
    ['Url', { Url: 'mqtt://x' }],
    ['url', { url: 5 }],
    ['url', { url: '' }],
    ['url', { url: 'localhost' }],
    ['url', { url: 'mqtt:host' }],
    ['url', { url: 'mqtt://' }],
    ['url', { url: 'mqttss://h' }],
    ['url', { url: 'http://h' }],
    ['url', { url: 'tcp://h' }],
    ['url', { url: 'mqtt://h?clientId=x' }],
    ['url', { url: 'mqtt://h#x' }],
    ['url', { url: 'mqtt://h/%zz' }],
    ['url', { url: 'mqtt://%zz@h' }],
    ['url', { url: 'mqtt://u:%zz@h' }],
    ['url', { url: 'mqtt://h:99999' }],
    ['url', { url: 'mqtt://h:0' }],
    ['url', { url: 'mqtt://h/a/+/b' }],
    ['url', { url: 'mqtt://h/%00' }],
    ['protocol', { protocol: 'tcp' }],
    ['host', { host: '' }],
    ['port', { port: 0 }],
    ['port', { port: 65_536 }],
    ['port', { port: '1883' }],
    ['path', { path: '/x' }],
    ['path', { url: 'ws://h', path: 5 }],
    ['username', { username: 1 }],
    ['password', { password: Buffer.from('x') }],
    ['credentials', { credentials: {} }],
    ['credentials', { credentials: () => ({}), username: 'u' }],
    ['credentials', { credentials: () => ({}), password: 'p' }],
    ['clientId', { clientId: 5 }],
    ['clientId', { clientId: () => 5 }],
    ['clientId', { clientId: 'a\0b' }],
    ['clientId', { clientId: 'x'.repeat(65_536) }],
    ['clientId', { session: { clean: false } }],
    ['clientId', { session: { clean: false }, clientId: '' }],
    ['protocolVersion', { protocolVersion: 6 }],
    ['protocolVersion', { protocolVersion: '5' }],
    ['keepalive', { keepalive: -1 }],
    ['keepalive', { keepalive: 1.5 }],
    ['keepalive', { keepalive: 65_536 }],
    ['connectTimeout', { connectTimeout: 0 }],
    ['connectTimeout', { connectTimeout: Infinity }],
    ['session', { session: true }],
    ['session.clean', { session: { clean: 'no' } }],
    ['session.expiry', { session: { expiry: -1 } }],
    ['session.expires', { session: { expires: 5 } }],
    ['will', { will: 'x' }],
    ['will', { will: {} }],
    ['will.topic', { will: { topic: '' } }],
    ['will.topic', { will: { topic: 'a/#' } }],
    ['will.qos', { will: { topic: 'a', qos: 3 } }],
    ['will.payload', { will: { topic: 'a', payload: () => {} } }],
    ['will.foo', { will: { topic: 'a', foo: 1 } }],
    ['tls', { tls: {} }],
    ['tls', { url: 'ws://h', tls: { ca: 'x' } }],
    ['tls.ca', { url: 'mqtts://h', tls: { ca: 5 } }],
    ['tls.minVersion', { url: 'mqtts://h', tls: { minVersion: 'TLSv1' } }],
    ['tls.rejectUnauthorized', { url: 'mqtts://h', tls: { rejectUnauthorized: 0 } }],
    ['tls.unknown', { url: 'mqtts://h', tls: { unknown: 1 } }],
    ['reconnect.min', { reconnect: { min: -1 } }],
    ['reconnect.min', { reconnect: { min: 10, max: 5 } }],
    ['reconnect.min', { reconnect: { min: 0 } }],
    ['reconnect.max', { reconnect: { max: 2 ** 31 } }],
    ['connect', { connect: 'no' }],
    ['waitForConnection', { waitForConnection: 'yes' }],
    ['waitForConnection', { waitForConnection: -1 }],
    ['prefix', { prefix: 'a/#' }],
    ['prefix', { prefix: '+' }],
    ['prefix', { prefix: 5 }],
    ['prefix', { prefix: 'a\0' }],
    ['namespace', { namespace: '' }],
    ['group', { group: 'a/b' }],
    ['group', { group: '' }],
    ['group', { group: 5 }],
    ['concurrency', { concurrency: 0 }],
    ['order', { order: 'Topic' }],
    ['ackOrder', { ackOrder: 'none' }],
    ['handlerTimeout', { handlerTimeout: -1 }],
    ['handlerTimeout', { handlerTimeout: NaN }],
    ['inbox', { inbox: 5 }],
    ['inbox.maxMessages', { inbox: { maxMessages: 0 } }],
    ['inbox.maxBytes', { inbox: { maxBytes: 1.5 } }],
    ['outbox.inflight', { outbox: { inflight: 0 } }],
    ['outbox.inflight', { outbox: { inflight: 32_768 } }],
    ['outbox.max', { outbox: { max: 1 } }],
    ['publishTimeout', { publishTimeout: '30' }],
    ['maxPayload', { maxPayload: 0 }],
    ['closeTimeout', { closeTimeout: -1 }],
    ['workers.topics', { workers: { topics: 'a' } }],
    ['workers.topics', { workers: { topics: ['a/#/b'] } }],
    ['workers.window', { workers: { window: 0 } }],
    ['converters', { converters: 5 }],
    ['embedded', { embedded: 'yes' }],
    ['embedded.port', { embedded: { port: -1 } }],
    ['url', { embedded: true, url: 'mqtt://h' }],
    ['client', { client: 5 }],
    ['client.clientId', { client: { clientId: 'x' } }],
    ['client.rejectUnauthorized', { client: { rejectUnauthorized: false } }]
  ]
  for (const [option, options] of bad) {
    const { code, message } = refusal(options)
    const what = `${option} in ${JSON.stringify(options)?.slice(0, 80)}: ${message.slice(0, 120)}`
    t.equal(code, 'FST_MQTT_OPTIONS', what)
    t.ok(message.startsWith(option), what)
  }
})

t.test('secrets are in no message', async t => {
  const secret = 'hunter2'
  for (const options of [
    { password: secret, port: 'x' },
    { password: [secret] },
    { username: { secret } },
    { url: `mqtt://u:${secret}@h?x=1` },
    { url: `mqtt://u:${secret}@h:x` },
    { url: `u:${secret}@h` },
    { url: `mqttss://u:${secret}@h` },
    { url: `mqtt://u:${secret}%zz@h` },
    { url: 'mqtts://h', tls: { passphrase: [secret] } },
    { url: 'mqtts://h', tls: { key: { pem: secret } } },
    { will: { topic: 'a', payload: secret, qos: 9 } },
    { clientId: { secret } },
    { client: { password: secret } }
  ]) {
    const error = refusal(options) as Error
    t.equal((error as Error & { code: string }).code, 'FST_MQTT_OPTIONS', JSON.stringify(options))
    t.notMatch(JSON.stringify({ ...error, message: error.message, stack: error.stack, cause: String(error.cause) }), new RegExp(secret))
  }
})

t.test('URLs', async t => {
  const table: Array<[MqttPluginOptions, object]> = [
    [{ url: 'mqtt://h' }, { endpoint: { protocol: 'mqtt', host: 'h', port: 1883, path: '' }, prefix: '', username: undefined, password: undefined }],
    [{ url: 'mqtts://h' }, { endpoint: { protocol: 'mqtts', port: 8883 } }],
    [{ url: 'ws://h' }, { endpoint: { protocol: 'ws', port: 80, path: '/' } }],
    [{ url: 'wss://h/mqtt' }, { endpoint: { protocol: 'wss', port: 443, path: '/mqtt' }, prefix: '' }],
    [{ url: 'ws://h:8080/a%20b' }, { endpoint: { port: 8080 }, prefix: '' }],
    [{ url: 'mqtt://u%40x:p%2F%3A%25@h:99/pre/fix' }, { username: 'u@x', password: 'p/:%', endpoint: { port: 99 }, prefix: 'pre/fix' }],
    [{ url: 'mqtt://h/a%20b/%C3%BC/' }, { prefix: 'a b/ü' }],
    [{ url: 'mqtt://[::1]:1884' }, { endpoint: { host: '[::1]', port: 1884 } }],
    [{ url: 'MQTT://h' }, { endpoint: { protocol: 'mqtt' } }],
    [{ url: 'mqtt://h/url', prefix: '/own/' }, { prefix: 'own' }],
    [{ url: 'mqtt://u:p@h:1/x', username: 'U', password: 'P', host: 'H', port: 2, prefix: '' }, { username: 'U', password: 'P', endpoint: { host: 'H', port: 2 }, prefix: '' }],
    [{ url: 'mqtt://h', protocol: 'mqtts' }, { endpoint: { protocol: 'mqtts', port: 8883 } }],
    [{ url: 'ws://h/a', path: '/b' }, { endpoint: { path: '/b' } }]
  ]
  for (const [options, expected] of table) t.match(resolve(options), expected, JSON.stringify(options))
  t.match(['/mqtt', undefined], [refusalOrPath({ url: 'ws://h', path: 'mqtt' })].map(path => path === 'refused' ? '/mqtt' : path), 'a path without its slash is completed or refused')
})

function refusalOrPath (options: MqttPluginOptions): string {
  try {
    return resolve(options).endpoint.path
  } catch {
    return 'refused'
  }
}

t.test('undefined is not there', async t => {
  const keys = ['url', 'host', 'port', 'username', 'password', 'clientId', 'session', 'will', 'tls', 'reconnect', 'inbox', 'outbox', 'workers', 'embedded', 'client', 'prefix', 'keepalive']
  t.match(resolve(Object.fromEntries(keys.map(key => [key, undefined]))), { endpoint: { host: '127.0.0.1' }, keepalive: 15 })
  t.match(resolve({ inbox: { maxMessages: undefined }, reconnect: { min: undefined, max: 50 }, session: { clean: undefined } }), {
    inbox: { maxMessages: 10_000 }, reconnect: { max: 50 }, session: { clean: true }
  })
})

t.test("the caller's object is not changed", async t => {
  const freeze = <T>(value: T): T => {
    if (typeof value === 'object' && value !== null && !ArrayBuffer.isView(value)) {
      Object.values(value).forEach(freeze)
      Object.freeze(value)
    }
    return value
  }
  const options = freeze({
    url: 'mqtts://u:p@127.0.0.1:1/x',
    clientId: 'c',
    session: { clean: false, expiry: 5 },
    will: { topic: 'w', payload: { a: 1 }, properties: { willDelayInterval: 1, userProperties: { a: 'b' } } },
    tls: { ca: ['-----BEGIN'], ALPNProtocols: ['mqtt'] },
    reconnect: { min: 1, max: 2 },
    inbox: {},
    outbox: {},
    workers: { topics: ['a/#'] },
    client: { properties: { userProperties: { a: 'b' } } }
  })
  const app = Fastify()
  await app.register(multimqtt, options as unknown as MqttPluginOptions)
  await app.ready()
  await app.close()
  const again = Fastify()
  await again.register(multimqtt, options as unknown as MqttPluginOptions)
  t.equal(again.mqtt.prefix, 'x')
  await again.close()
})

t.test('functions', async t => {
  t.equal(resolve({ clientId: () => 'given' }).clientId, 'given')
  t.equal(resolve({ waitForConnection: 500 }).waitForConnection, 500)
  t.ok(resolve({ waitForConnection: true }).waitForConnection < 10_000)
  t.equal(resolve({ waitForConnection: false }).waitForConnection, 0)
  t.equal(resolve({ embedded: true }).protocolVersion, 4)
  t.equal(resolve({ embedded: false }).embedded, undefined)
})
