import { once } from 'node:events'
import { text } from 'node:stream/consumers'
import t from 'tap'
import { duplexPair } from '../../lib/embedded/duplex-pair.ts'
import { nextEvent } from '../support/events.ts'

t.test('each side reads what the other writes', async t => {
  const [one, other] = duplexPair()
  one.end('question')
  t.equal(await text(other), 'question')
})

t.test('an answer after the end of the question is lost as little as on a socket', async t => {
  const [one, other] = duplexPair()
  one.write('question')
  other.end('answer')
  t.equal(await text(one), 'answer')
})

t.test('what was written before a destroy is read, then the end, then close', async t => {
  const [one, other] = duplexPair()
  one.write('last words')
  await new Promise(resolve => setImmediate(resolve))
  const closed = nextEvent(other, 'close')
  one.destroy()
  t.equal(await text(other), 'last words')
  await closed
  t.ok(other.destroyed)
})

t.test('a write to a side that has gone neither throws nor hangs', async t => {
  const [one, other] = duplexPair()
  other.destroy()
  await new Promise<void>((resolve, reject) => {
    one.write('nobody hears this', error => { if (error) reject(error); else resolve() })
  })
  t.pass('settled')
})

t.test('back pressure', async t => {
  const [one, other] = duplexPair()
  const chunk = Buffer.alloc(100_000, 'x')
  let written = 0
  const finished = new Promise<void>(resolve => {
    one.write(chunk, () => { written++ })
    one.write(chunk, () => { written++; resolve() })
  })
  await new Promise(resolve => setImmediate(resolve))
  t.equal(written, 0, 'nobody has read')
  other.resume()
  await finished
  t.equal(written, 2)
})

t.test('a pending write settles when the reader is destroyed', async t => {
  const [one, other] = duplexPair()
  const settled = new Promise(resolve => { one.write(Buffer.alloc(100_000), resolve) })
  await new Promise(resolve => setImmediate(resolve))
  other.destroy()
  await settled
  one.resume()
  if (!one.destroyed) await once(one, 'close')
  t.ok(one.destroyed)
})

t.test('the reader has its own memory', async t => {
  const [one, other] = duplexPair()
  const bytes = Buffer.from('before')
  one.write(bytes)
  bytes.write('after!')
  const [read] = await nextEvent(other, 'data')
  t.equal(String(read), 'before')
})
