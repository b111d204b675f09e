import t from 'tap'
import { Backoff } from '../../lib/connection/backoff.ts'

t.test('the ceiling doubles from min to max, and the wait is anywhere below it', t => {
  const highest = new Backoff({ min: 100, max: 30_000 }, () => 1)
  t.strictSame(Array.from({ length: 11 }, () => highest.next()),
    [100, 200, 400, 800, 1_600, 3_200, 6_400, 12_800, 25_600, 30_000, 30_000])
  const lowest = new Backoff({ min: 100, max: 30_000 }, () => 0)
  t.equal(lowest.next(), 0)
  const any = new Backoff({ min: 100, max: 1_000 })
  for (let i = 0; i < 1_000; i++) {
    const wait = any.next()
    t.ok(wait >= 0 && wait <= 1_000)
  }
  t.end()
})

t.test('a connection that held starts over; one that did not goes on', t => {
  const backoff = new Backoff({ min: 100, max: 30_000 }, () => 1)
  for (let i = 0; i < 5; i++) backoff.next()
  backoff.ended(9_999)
  t.equal(backoff.next(), 3_200)
  backoff.ended(10_000)
  t.equal(backoff.next(), 100)
  t.end()
})

t.test('the slow lane waits between half of max and max', t => {
  t.equal(new Backoff({ min: 100, max: 30_000 }, () => 0).slow(), 15_000)
  t.equal(new Backoff({ min: 100, max: 30_000 }, () => 1).slow(), 30_000)
  t.end()
})

t.test('many thousand attempts do not overflow', t => {
  const backoff = new Backoff({ min: 1, max: 2 ** 31 - 1 }, () => 1)
  for (let i = 0; i < 5_000; i++) backoff.next()
  t.ok(backoff.next() <= 2 ** 31 - 1)
  t.end()
})
