import t from 'tap'
import { Scheduler, Track, type Job } from '../../lib/inbox/scheduler.ts'

interface Held { job: Job & { dropped: boolean }, finish: () => void }

function setUp (concurrency: number, trackOptions: { concurrency?: number, order?: 'topic' | 'none' } = {}) {
  const scheduler = new Scheduler(concurrency)
  const track = new Track({ concurrency: 100, order: 'topic', ...trackOptions })
  const started: string[] = []
  const kept: string[] = []
  const held = (key: string, name: string, own = track): Held => {
    let finish!: () => void
    const pending = new Promise<void>(resolve => { finish = resolve })
    return { job: { track: own, key, keep: () => { kept.push(name) }, dropped: false, run: () => { started.push(name); return pending } }, finish }
  }
  const sync = (key: string, name: string): Job => ({ track, key, keep: () => { kept.push(name) }, dropped: false, run: () => { started.push(name); return undefined } })
  return { scheduler, track, started, kept, held, sync }
}

const turn = (): Promise<void> => new Promise(resolve => { setImmediate(resolve) })

t.test('what does not wait is done at once', t => {
  const { scheduler, started, sync, track } = setUp(1)
  for (let i = 0; i < 5; i++) scheduler.add(sync('a', `${i}`))
  t.strictSame(started, ['0', '1', '2', '3', '4'])
  t.equal(track.lanes.size, 0)
  t.equal(scheduler.running, 0)
  t.end()
})

t.test('one topic in order, different topics side by side', async t => {
  const { scheduler, started, kept, held, sync, track } = setUp(10)
  const a1 = held('a', 'a1')
  const a2 = held('a', 'a2')
  const b1 = held('b', 'b1')
  for (const { job } of [a1, a2, b1]) scheduler.add(job)
  scheduler.add(sync('a', 'a3'))
  t.strictSame(started, ['a1', 'b1'])
  t.strictSame(kept, ['a2', 'a3'], 'what waits is told so')
  a1.finish()
  await turn()
  t.strictSame(started, ['a1', 'b1', 'a2'])
  a2.finish()
  b1.finish()
  await turn()
  t.strictSame(started, ['a1', 'b1', 'a2', 'a3'])
  t.equal(track.lanes.size, 0, 'nothing is kept of topics that are done')
  t.equal(scheduler.running, 0)
})

t.test('the limit for all holds back, and lets go in order', async t => {
  const { scheduler, started, held } = setUp(2)
  const jobs = ['a', 'b', 'c', 'd'].map(key => held(key, key))
  for (const { job } of jobs) scheduler.add(job)
  t.strictSame(started, ['a', 'b'])
  jobs[1]!.finish()
  await turn()
  t.strictSame(started, ['a', 'b', 'c'])
  jobs[0]!.finish()
  jobs[2]!.finish()
  jobs[3]!.finish()
  await turn()
  t.strictSame(started, ['a', 'b', 'c', 'd'])
  t.equal(scheduler.running, 0)
})

t.test("a track's own limit does not hold back others", async t => {
  const { scheduler, started, held } = setUp(10, { concurrency: 1 })
  const other = new Track({ concurrency: 10, order: 'none' })
  const a = held('a', 'a')
  const b = held('b', 'b')
  const c = held('c', 'c', other)
  for (const { job } of [a, b, c]) scheduler.add(job)
  t.strictSame(started, ['a', 'c'])
  a.finish()
  await turn()
  t.strictSame(started, ['a', 'c', 'b'])
  b.finish()
  c.finish()
})

t.test('without order, messages of one topic run side by side', t => {
  const { scheduler, started, held } = setUp(10, { order: 'none' })
  const jobs = [held('a', '1'), held('a', '2')]
  for (const { job } of jobs) scheduler.add(job)
  t.strictSame(started, ['1', '2'])
  for (const { finish } of jobs) finish()
  t.end()
})

t.test('a lane whose turn comes while the limit is reached waits, and keeps its order', async t => {
  const { scheduler, started, held } = setUp(1)
  const a1 = held('a', 'a1')
  const b1 = held('b', 'b1')
  const a2 = held('a', 'a2')
  for (const { job } of [a1, b1, a2]) scheduler.add(job)
  a1.finish()
  await turn()
  t.equal(started.length, 2)
  for (const { finish } of [b1, a2]) { finish(); await turn() }
  t.strictSame([...started].sort(), ['a1', 'a2', 'b1'])
  t.equal(scheduler.running, 0)
})

t.test('a hundred thousand that waited in one lane do not overflow the stack', async t => {
  const { scheduler, started, held, sync } = setUp(10)
  const first = held('a', 'first')
  scheduler.add(first.job)
  for (let i = 0; i < 100_000; i++) scheduler.add(sync('a', 'x'))
  first.finish()
  await turn()
  t.equal(started.length, 100_001)
})

t.test('after stop nothing starts', async t => {
  const { scheduler, started, held, sync } = setUp(1)
  const a = held('a', 'a')
  scheduler.add(a.job)
  scheduler.add(sync('a', 'later'))
  scheduler.add(sync('b', 'other'))
  scheduler.stop()
  a.finish()
  await turn()
  t.strictSame(started, ['a'])
})

t.test('what was dropped is taken out wherever it waits, and the others go on in order', async t => {
  for (const limit of [{ all: 1 }, { all: 10, concurrency: 1 }]) {
    const { scheduler, track, started, held } = setUp(limit.all, limit)
    const jobs = ['a1', 'a2', 'a3', 'b1', 'b2', 'c1', 'c2', 'd1'].map(name => ({ name, ...held(name[0]!, name) }))
    for (const { job } of jobs) scheduler.add(job)
    t.strictSame(started, ['a1'])
    for (const { name, job } of jobs) job.dropped = ['a2', 'b1', 'c1', 'c2'].includes(name)
    scheduler.sweep([track])
    t.strictSame([...track.lanes.keys()].sort(), ['a', 'b', 'd'], 'a lane of which nothing is left is gone')
    t.equal([...track.lanes.values()].reduce((sum, lane) => sum + lane.length, 0), 1, 'a3')
    for (const { finish } of jobs) { finish(); await turn(); await turn() }
    t.strictSame([...started].sort(), ['a1', 'a3', 'b2', 'd1'])
    t.equal(track.lanes.size, 0)
    t.equal(scheduler.running, 0)
  }
})
