import { types } from 'node:util'
import vm from 'node:vm'
import t from 'tap'
import { toPayload } from '../../lib/wire/payload.ts'

function transferred<T extends ArrayBufferView | ArrayBuffer> (value: T): T {
  const buffer = (ArrayBuffer.isView(value) ? value.buffer : value) as ArrayBuffer
  structuredClone(buffer, { transfer: [buffer] })
  return value
}

t.test('text', async t => {
  const table: Array<[unknown, string]> = [
    ['', ''], ['text', 'text'], ['\ud800', '\ud800'], [0, '0'], [-0, '0'], [1.5, '1.5'], [NaN, 'NaN'], [Infinity, 'Infinity'],
    [true, 'true'], [false, 'false'], [2n ** 70n, '1180591620717411303424'], [null, ''], [undefined, '']
  ]
  for (const [payload, expected] of table) t.equal(toPayload(payload), expected, String(payload))
})

t.test('JSON', async t => {
  const table: Array<[unknown, string]> = [
    [{ a: 1 }, '{"a":1}'], [[1, 'x', null], '[1,"x",null]'], [new Date(0), '"1970-01-01T00:00:00.000Z"'], [{}, '{}'],
    [{ toJSON: () => 'j' }, '"j"'], [Object.create(null), '{}'], [{ a: undefined }, '{}'], [{ s: '\ud800' }, '{"s":"\\ud800"}'],
    [{ then: 'not a function' }, '{"then":"not a function"}'], [Object('boxed'), '"boxed"']
  ]
  for (const [payload, expected] of table) t.equal(toPayload(payload), expected)
})

t.test('bytes, exactly those of the view', async t => {
  const memory = Uint8Array.from({ length: 16 }, (_, i) => i)
  const expected = Buffer.from([4, 5, 6, 7])
  const inside: unknown[] = [
    Buffer.from(memory.buffer, 4, 4), new Uint8Array(memory.buffer, 4, 4), new DataView(memory.buffer, 4, 4),
    new Int8Array(memory.buffer, 4, 4), new Uint16Array(memory.buffer, 4, 2), new Float32Array(memory.buffer, 4, 1),
    new Uint8ClampedArray(memory.buffer, 4, 4), memory.buffer.slice(4, 8)
  ]
  for (const view of inside) {
    const bytes = toPayload(view) as Uint8Array
    t.ok(types.isUint8Array(bytes))
    t.same(Buffer.from(bytes), expected, Object.prototype.toString.call(view))
  }
  t.equal(toPayload(memory), memory, 'no copy is made of plain bytes')
  t.equal((toPayload(new BigInt64Array(2)) as Uint8Array).length, 16)
  t.same(Buffer.from(toPayload(vm.runInNewContext('new Uint8Array([1, 2]).buffer')) as Uint8Array), Buffer.from([1, 2]))
  t.same(Buffer.from(toPayload(vm.runInNewContext('new Uint8Array([1, 2])')) as Uint8Array), Buffer.from([1, 2]))
})

t.test('nothing in it is fine', async t => {
  for (const empty of [Buffer.alloc(0), new ArrayBuffer(0), new DataView(new ArrayBuffer(4), 4), new Uint16Array(0), new SharedArrayBuffer(0)]) {
    t.equal(toPayload(empty)!.length, 0)
  }
})

t.test('shared memory is read where it is', async t => {
  const shared = new SharedArrayBuffer(8)
  const all = new Uint8Array(shared)
  for (const payload of [shared, all.subarray(2, 6), Buffer.from(shared, 2, 4), new DataView(shared, 2, 4), new Uint16Array(shared, 2, 2)]) {
    all.fill(1)
    const bytes = toPayload(payload) as Uint8Array
    t.equal(bytes.buffer, shared)
    t.equal(bytes.length, payload.byteLength)
    t.ok(bytes.every(byte => byte === 1))
  }
})

t.test('what cannot be sent is refused, and its content not told', async t => {
  const cycle: Record<string, unknown> = { secret: 'hunter2' }
  cycle.hunter2 = cycle
  const deep: unknown[] = []
  for (let i = 0, at = deep; i < 200_000; i++) at.push(at = [])
  const revoked = Proxy.revocable({}, {})
  revoked.revoke()
  const table: Array<[string, unknown, RegExp]> = [
    ['function', () => 'hunter2', /function/],
    ['symbol', Symbol('hunter2'), /symbol/],
    ['promise', Promise.resolve('hunter2'), /promise.*await/],
    ['thenable', { then () {} }, /promise/],
    ['cycle', cycle, /holds itself/],
    ['bigint inside', { hunter2: 1n }, /bigint/],
    ['too deep', deep, /too deep/],
    ['toJSON throws', { toJSON () { throw new Error('hunter2') } }, /toJSON or a getter threw/],
    ['toJSON throws a primitive', { toJSON () { throw 'hunter2' } }, /toJSON or a getter threw/], // eslint-disable-line no-throw-literal
    ['toJSON throws null', { toJSON () { throw null } }, /toJSON or a getter threw/], // eslint-disable-line no-throw-literal
    ['toJSON throws a revoked proxy', { toJSON () { throw revoked.proxy } }, /toJSON or a getter threw/],
    ['getter throws', { get a () { throw new Error('hunter2') } }, /toJSON or a getter threw/],
    ['then throws', { get then () { throw new Error('hunter2') } }, /toJSON or a getter threw/],
    ['revoked proxy', revoked.proxy, /toJSON or a getter threw/],
    ['toJSON gives undefined', { toJSON () {} }, /nothing that JSON has/],
    ['toJSON gives a function', { toJSON: () => () => {} }, /nothing that JSON has/],
    ['detached Uint8Array', transferred(new Uint8Array(8)), /memory is gone/],
    ['detached Buffer', transferred(Buffer.from(new ArrayBuffer(8))), /memory is gone/],
    ['detached DataView', transferred(new DataView(new ArrayBuffer(8))), /memory is gone/],
    ['detached Float64Array', transferred(new Float64Array(8)), /memory is gone/],
    ['detached ArrayBuffer', transferred(new ArrayBuffer(8)), /memory is gone/]
  ]
  for (const [name, payload, message] of table) {
    const error = t.throws(() => toPayload(payload), { code: 'FST_MQTT_PAYLOAD', message }, name) as Error
    t.notMatch(error.message, /hunter2/, `${name}: nothing of the payload in the text`)
  }
})
