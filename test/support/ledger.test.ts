import t from 'tap'
import { Ledger } from './ledger.ts'

t.test('a clean run reports nothing', t => {
  const ledger = new Ledger()
  for (let i = 1; i <= 3; i++) {
    t.equal(ledger.next(), i)
    ledger.confirmed(i)
    ledger.received(i)
  }
  t.strictSame(ledger.report(), { lost: [], duplicated: [], foreign: [], reordered: [] })
  t.strictSame(ledger.counts, { sent: 3, confirmed: 3, received: 3 })
  t.end()
})

t.test('each kind of fault is told apart', t => {
  const ledger = new Ledger()
  for (let i = 0; i < 6; i++) ledger.next()
  for (const n of [1, 2, 3, 4, 5]) ledger.confirmed(n)
  for (const n of [1, 4, 3, 3, 6, 99, Number.NaN]) ledger.received(n)
  const report = ledger.report()
  t.strictSame(report.lost, [2, 5], 'confirmed and never received')
  t.strictSame(report.duplicated, [3])
  t.strictSame(report.reordered, [3])
  t.equal(report.foreign.length, 2, 'never handed out')
  t.end()
})

t.test('an unconfirmed message is not lost', t => {
  const ledger = new Ledger()
  ledger.next()
  t.strictSame(ledger.report().lost, [])
  t.end()
})
