import t from 'tap'
import { LowIds } from '../../lib/connection/low-ids.ts'
import { SubscriptionIds } from '../../lib/connection/subscription-ids.ts'
import { PacketIds } from '../../lib/outbox/packet-ids.ts'

t.test("mqtt.js' identifiers stay below ours and are not handed out twice", t => {
  const ids = new LowIds()
  t.equal(ids.getLastAllocated(), null)
  const seen = new Set<number>()
  for (let i = 0; i < 0x7fff; i++) seen.add(ids.allocate()!)
  t.equal(seen.size, 0x7fff)
  t.ok(Math.max(...seen) < 0x8000 && Math.min(...seen) === 1)
  t.equal(ids.allocate(), null, 'none is left')
  ids.deallocate(77)
  t.equal(ids.allocate(), 77)
  t.equal(ids.getLastAllocated(), 77)
  t.equal(ids.register(77), false)
  t.equal(ids.register(0x8000), false)
  ids.clear()
  t.equal(ids.register(5), true)
  t.end()
})

t.test('our identifiers are given out again only after they came back', t => {
  const ids = new PacketIds(0x8000, 0x4000)
  const held = ids.allocate()
  t.equal(held, 0x8000)
  const seen = new Set<number>()
  for (let i = 0; i < 70_000; i++) {
    const id = ids.allocate()
    t.not(id, held)
    seen.add(id)
    ids.release(id)
  }
  t.equal(seen.size, 0x3fff)
  t.end()
})

t.test('an identifier in doubt is not given out before it is trusted', t => {
  const ids = new PacketIds(10, 4)
  const used = ids.allocate()
  const given = ids.allocate()
  ids.doubt(given)
  t.equal(ids.trusted, 3)
  t.strictSame([ids.allocate(), ids.allocate()], [12, 13])
  ids.release(12)
  ids.doubtAll()
  t.equal(ids.trusted, 2, 'those in use are known')
  t.strictSame(ids.doubtful(9), [11, 12])
  ids.trust(12)
  t.equal(ids.allocate(), 12)
  ids.trustAll()
  t.equal(ids.allocate(), 11)
  t.equal(ids.trusted, 4)
  ids.release(used)
  t.equal(ids.allocate(), used)
  t.end()
})

t.test('a subscription identifier depends on the filter alone', t => {
  const one = new SubscriptionIds()
  const other = new SubscriptionIds()
  other.allocate('something/else')
  t.equal(one.allocate('a/+/b'), other.allocate('a/+/b'))
  const ids = new Set<number>()
  for (let i = 0; i < 50_000; i++) ids.add(one.allocate(`device/${i}/+`))
  t.equal(ids.size, 50_000, 'none is given to two filters')
  for (const id of ids) if (id < 1 || id > 268_435_455) t.fail(`${id} is out of range`)
  t.end()
})
