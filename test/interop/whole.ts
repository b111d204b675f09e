import type { Test } from 'tap'
import type { Ledger } from '../support/ledger.ts'

/**
 * Nothing lost, nothing twice, nothing foreign. Order is not asked for: when messages of QoS 1 and 2 wait for a subscriber,
 * mosquitto 2.0.11 sends them to it in another order than it was given them, whoever the two clients are.
 */
export function expectWhole (t: Test, ledger: Ledger): void {
  const { lost, duplicated, foreign } = ledger.report()
  t.strictSame({ lost, duplicated, foreign }, { lost: [], duplicated: [], foreign: [] })
}
