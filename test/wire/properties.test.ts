import fc from 'fast-check'
import t from 'tap'
import { MalformedPacket } from '../../lib/wire/malformed.ts'
import type { PublishProperties } from '../../lib/wire/packet.ts'
import { decodeProperties, encodeProperties, type PropertyTarget } from '../../lib/wire/properties.ts'
import { generate, parse, publishProperties } from './arbitraries.ts'

function decode (block: Buffer | number[]): PropertyTarget {
  const buffer = Buffer.concat([Buffer.from([9, 9]), Buffer.from(block), Buffer.from([9, 9])])
  const target: PropertyTarget = { properties: undefined, subscriptionIds: undefined }
  decodeProperties(buffer, 2, buffer.length - 2, target)
  return target
}

/** The content of a block with its length. */
function content (block: Uint8Array): Buffer {
  let at = 0
  while (block[at]! > 127) at++
  return Buffer.from(block.subarray(at + 1))
}

t.test('what is encoded, mqtt-packet reads', async () => {
  fc.assert(fc.property(publishProperties, properties => {
    const block = encodeProperties(properties)
    if (block === null) return Object.keys(properties).length === 0
    const wire = Buffer.concat([Buffer.from([0, 1, 0x61]), block])
    const packet = Buffer.concat([Buffer.from([0x30]), remaining(wire.length), wire])
    const [parsed] = parse(packet, 5) as Array<{ properties?: unknown }>
    return fc.stringify(normal(parsed!.properties)) === fc.stringify(normal(properties))
  }), { numRuns: 1000 })
})

t.test('what mqtt-packet encodes is read, and so is what we encode', async () => {
  fc.assert(fc.property(publishProperties, fc.array(fc.integer({ min: 1, max: 268_435_455 }), { maxLength: 4 }), (properties, ids) => {
    const own = encodeProperties(properties)
    if (own !== null && fc.stringify(normal(decode(content(own)).properties)) !== fc.stringify(normal(properties))) return false
    const all = { ...properties, ...(ids.length > 0 ? { subscriptionIdentifier: ids } : {}) }
    const packet = generate({ cmd: 'publish', topic: '', payload: '', qos: 0, retain: false, dup: false, properties: all as object }, 5)
    let at = 1
    while (packet[at]! > 127) at++
    const target = decode(content(packet.subarray(at + 3)))
    return fc.stringify(normal(target.properties)) === fc.stringify(normal(properties)) &&
      fc.stringify(target.subscriptionIds ?? []) === fc.stringify(ids)
  }), { numRuns: 1000, examples: [[{}, []], [{}, [1]]] })
})

function remaining (length: number): Buffer {
  const bytes: number[] = []
  do { bytes.push((length & 127) | (length > 127 ? 128 : 0)) } while ((length >>>= 7) > 0)
  return Buffer.from(bytes)
}

/** Names in one order, no prototypes, bytes as hexadecimal. */
function normal (value: unknown): unknown {
  if (value instanceof Uint8Array) return Buffer.from(value).toString('hex')
  if (Array.isArray(value)) return value.map(normal)
  // None at all is as good as an object without any.
  if (typeof value !== 'object' || value === null) return value ?? []
  return Object.entries(value).map(([name, one]) => [name, normal(one)] as const).sort(([a], [b]) => a < b ? -1 : a > b ? 1 : 0)
}

t.test('nothing to say is no block', async t => {
  t.equal(encodeProperties(undefined), null)
  t.equal(encodeProperties({}), null)
  t.equal(encodeProperties({ contentType: undefined } as never), null)
  t.equal(encodeProperties({ userProperties: {} }), null)
})

t.test('bad properties are refused by name', async t => {
  const detached = new Uint8Array(4)
  structuredClone(detached.buffer, { transfer: [detached.buffer] })
  const table: Array<[string, unknown, RegExp]> = [
    ['null', null, /must be an object/],
    ['array', [], /must be an object/],
    ['string', 'x', /must be an object/],
    ['unknown', { contenttype: 'x' }, /"contenttype".*no such property/],
    ['prototype name', JSON.parse('{"__proto__":1}'), /"__proto__".*no such/],
    ['inherited name', { constructor: 1 }, /"constructor".*no such/],
    ['topicAlias', { topicAlias: 1 }, /topicAlias.*aliases are not used/],
    ['subscriptionIdentifier', { subscriptionIdentifier: 1 }, /subscriptionIdentifier.*only a broker/],
    ['indicator 1', { payloadFormatIndicator: 1 }, /payloadFormatIndicator/],
    ['indicator null', { payloadFormatIndicator: null }, /payloadFormatIndicator/],
    ['expiry -1', { messageExpiryInterval: -1 }, /messageExpiryInterval/],
    ['expiry 2^32', { messageExpiryInterval: 2 ** 32 }, /messageExpiryInterval/],
    ['expiry 1.5', { messageExpiryInterval: 1.5 }, /messageExpiryInterval/],
    ['expiry NaN', { messageExpiryInterval: NaN }, /messageExpiryInterval/],
    ['expiry text', { messageExpiryInterval: '1' }, /messageExpiryInterval/],
    ['contentType number', { contentType: 1 }, /contentType.*string/],
    ['contentType NUL', { contentType: 'a\0b' }, /contentType.*NUL/],
    ['contentType newline', { contentType: 'a\nb' }, /contentType.*control/],
    ['contentType surrogate', { contentType: 'a\udc00' }, /contentType.*surrogate/],
    ['contentType long', { contentType: 'ä'.repeat(32_768) }, /contentType.*65 535/],
    ['responseTopic wildcard', { responseTopic: 'a/+' }, /responseTopic/],
    ['responseTopic empty', { responseTopic: '' }, /responseTopic/],
    ['responseTopic number', { responseTopic: 5 }, /responseTopic.*string/],
    ['correlationData text', { correlationData: 'x' }, /correlationData/],
    ['correlationData array', { correlationData: [1] }, /correlationData/],
    ['correlationData long', { correlationData: Buffer.alloc(65_536) }, /correlationData.*65 535/],
    ['correlationData detached', { correlationData: detached }, /correlationData.*detached/],
    ['userProperties array', { userProperties: ['a'] }, /userProperties.*object/],
    ['userProperties text', { userProperties: 'a' }, /userProperties.*object/],
    ['userProperties null', { userProperties: null }, /userProperties.*object/],
    ['user undefined', { userProperties: { a: undefined } }, /userProperties\["a"\].*string/],
    ['user number', { userProperties: { a: 1 } }, /userProperties\["a"\].*string/],
    ['user list', { userProperties: { a: ['x', 2] } }, /userProperties\["a"\]\[1\].*string/],
    ['user hole', { userProperties: { a: [,] } }, /userProperties\["a"\]\[0\].*string/], // eslint-disable-line no-sparse-arrays
    ['user newline', { userProperties: { a: 'x\ny' } }, /userProperties\["a"\].*control/],
    ['user name NUL', { userProperties: { 'a\0': 'x' } }, /userProperties.*NUL/],
    ['user name long', { userProperties: { ['x'.repeat(65_536)]: 'x' } }, /userProperties.*65 535/],
    ['user value long', { userProperties: { a: 'x'.repeat(65_536) } }, /userProperties.*65 535/]
  ]
  for (const [name, properties, message] of table) {
    t.throws(() => encodeProperties(properties as PublishProperties), { code: 'FST_MQTT_PROPERTY', message }, name)
  }
})

t.test('what is at the limit is taken', async t => {
  const properties: PublishProperties = {
    payloadFormatIndicator: false,
    messageExpiryInterval: 0xffff_ffff,
    contentType: 'x'.repeat(65_535),
    responseTopic: 'r',
    correlationData: Buffer.alloc(65_535, 7),
    userProperties: { '': '', __proto: 'x' }
  }
  const back = decode(content(encodeProperties(properties)!)).properties!
  t.same(normal(back), normal(properties))
  t.same(decode(content(encodeProperties({ correlationData: Buffer.alloc(0) })!)).properties, { correlationData: Buffer.alloc(0) })
  t.same(encodeProperties({ messageExpiryInterval: 0 }), Buffer.from([5, 2, 0, 0, 0, 0]))
})

t.test('a block that MQTT cannot say the length of is refused before it is built', async t => {
  const a = new Array<string>(4096).fill('x'.repeat(65_535))
  t.throws(() => encodeProperties({ userProperties: { a } }), { code: 'FST_MQTT_PROPERTY', message: /268 435 455/ })
})

t.test('the caller\'s object is read once and kept nowhere', async t => {
  let reads = 0
  const data = Buffer.from('abcd')
  const block = encodeProperties({ get contentType () { return `${reads++}` }, correlationData: data })!
  t.equal(reads, 1)
  const before = Buffer.from(block)
  data.fill(0)
  t.same(block, before)
  t.equal(block.buffer.byteLength, block.length, 'on memory of its own')
})

t.test('user properties come without a prototype, and repeated names as lists', async t => {
  const user = (name: string, value: string): number[] =>
    [0x26, 0, name.length, ...Buffer.from(name), 0, value.length, ...Buffer.from(value)]
  const { userProperties } = decode([...user('__proto__', 'x'), ...user('a', ''), ...user('a', '2'), ...user('a', '3')]).properties!
  t.equal(Object.getPrototypeOf(userProperties), null)
  t.same(Object.entries(userProperties!), [['__proto__', 'x'], ['a', ['', '2', '3']]])
})

t.test('subscription identifiers alone make no properties', async t => {
  t.same(decode([0x0b, 5]), { properties: undefined, subscriptionIds: [5] })
  t.same(decode([0x0b, 5, 0x0b, 0x80, 1]), { properties: undefined, subscriptionIds: [5, 128] })
  t.same(decode([0x0b, 0xff, 0xff, 0xff, 0x7f]).subscriptionIds, [268_435_455])
  t.same(decode([0x0b, 5, 1, 1, 0x0b, 6]), { properties: { payloadFormatIndicator: true }, subscriptionIds: [5, 6] })
  t.same(decode([]), { properties: undefined, subscriptionIds: undefined })
})

t.test('broken blocks', async t => {
  const table: Array<[string, number[], number]> = [
    ['unknown identifier', [0x11, 0], 0x81],
    ['identifier 0', [0], 0x81],
    ['indicator over 1', [1, 2], 0x82],
    ['indicator twice', [1, 0, 1, 0], 0x82],
    ['expiry twice', [2, 0, 0, 0, 1, 2, 0, 0, 0, 1], 0x82],
    ['content type twice', [3, 0, 0, 3, 0, 0], 0x82],
    ['response topic twice', [8, 0, 1, 0x61, 8, 0, 1, 0x61], 0x82],
    ['correlation data twice', [9, 0, 0, 9, 0, 0], 0x82],
    ['topic alias', [0x23, 0, 1], 0x94],
    ['subscription identifier 0', [0x0b, 0], 0x82],
    ['subscription identifier too long', [0x0b, 0x80, 0x80, 0x80, 0x80, 1], 0x81],
    ['subscription identifier cut off', [0x0b, 0x80], 0x81],
    ['expiry cut off', [2, 0, 0, 0], 0x81],
    ['string cut off', [3, 0, 2, 0x61], 0x81],
    ['string length cut off', [3, 0], 0x81],
    ['binary cut off', [9, 0, 2, 1], 0x81],
    ['user property without value', [0x26, 0, 1, 0x61], 0x81],
    ['overlong NUL', [3, 0, 2, 0xc0, 0x80], 0x81],
    ['surrogate in UTF-8', [3, 0, 3, 0xed, 0xa0, 0x80], 0x81],
    ['half a character', [3, 0, 1, 0xc3], 0x81],
    ['NUL', [3, 0, 1, 0], 0x81]
  ]
  for (const [name, block, reasonCode] of table) {
    const error = t.throws(() => decode(block), { name: 'MalformedPacket', reasonCode }, name)
    t.ok(error instanceof MalformedPacket)
  }
  t.equal(decode([3, 0, 3, 0xef, 0xbf, 0xbd]).properties!.contentType, '\ufffd', 'U+FFFD itself is a character')
  t.equal(decode([8, 0, 1, 0x2b]).properties!.responseTopic, '+', 'a publisher cannot cost us the connection')
})
