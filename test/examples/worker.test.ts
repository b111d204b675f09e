import t from 'tap'
import { runExample } from './run.ts'

t.setTimeout(90_000)

t.test('examples/worker: plain threads publish, and end by themselves', async t => {
  const { code, lines, stderr } = await runExample('worker')
  t.strictSame({ code, stderr }, { code: 0, stderr: '' })
  for (const [from, found] of [[0, 33_860], [400_000, 30_091], [800_000, 28_987]] as const) {
    t.strictSame(lines.filter(line => line.startsWith(`from ${from}`)), [
      `from ${from}: 25 %`, `from ${from}: 50 %`, `from ${from}: 75 %`, `from ${from}: 100 %`,
      `from ${from} to ${from + 400_000}: ${found} primes`
    ])
    t.ok(lines.includes(`thread of ${from}: ended with 0`))
  }
  t.equal(lines.at(-2), '92938 primes in all')
})
