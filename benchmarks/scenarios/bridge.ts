import { Crew } from '../bridge/crew.ts'
import { openHost } from '../bridge/host.ts'
import { MAIN_THREAD, OWN_CONNECTIONS, POST_EACH, type Work } from '../bridge/work.ts'
import { withCleanup, type Cleanup } from '../harness/cleanup.ts'
import type { Case, Figures, Goal, Scenario } from '../harness/scenario.ts'
import { percentile } from '../harness/statistics.ts'
import { BROKER, CPU, LOOP, MAIN, perMessage, RATE } from '../load/metrics.ts'
import { OURS } from '../load/names.ts'
import { busy, startNullBroker, type NullBroker } from '../load/null-broker.ts'
import { measurePublishing, same } from '../load/publishing.ts'

interface Publishing {
  readonly workers: number
  readonly work: Work
}

const SIZES = [16, 256, 4_096, 262_144] as const
const COMPETITORS = [OURS, OWN_CONNECTIONS, POST_EACH]

const cases: Array<Case<Publishing>> = [
  ...SIZES.flatMap(size => [1, 2].map(workers => throughput(0, size, workers))),
  ...[1, 2].map(workers => throughput(1, 256, workers)),
  calm('await each, QoS 0', { kind: 'await' }),
  calm('2 000/s, QoS 0', { kind: 'paced' }),
  calm('2 000/s, QoS 1', { kind: 'paced', qos: 1 })
]

/**
 * Publishing from worker threads. The main thread's share is what all other work of an application waits for; with
 * connections of their own the workers cost it nothing, and every one costs the broker a client.
 */
export const bridge: Scenario<Publishing> = {
  name: 'bridge',
  title: 'publishes of worker threads, MQTT 3.1.1, null broker',
  metrics: [
    RATE, MAIN, CPU, LOOP, BROKER,
    { name: 'p50', title: 'ms p50', more: false },
    { name: 'p99', title: 'ms p99', more: false }
  ],
  competitors: [...COMPETITORS, MAIN_THREAD],
  cases,
  goals: [
    goal(0, 256, 1, OWN_CONNECTIONS, 4),
    goal(0, 256, 1, POST_EACH, 25),
    goal(0, 256, 2, OWN_CONNECTIONS, 2.5),
    goal(0, 4_096, 1, OWN_CONNECTIONS, 1.1),
    goal(0, 262_144, 1, OWN_CONNECTIONS, 0.4),
    {
      metric: MAIN.name,
      of: { case: nameOf(0, 256, 1), competitor: OURS },
      to: { case: nameOf(0, 256, 1), competitor: MAIN_THREAD },
      atMost: 0.3
    }
  ],
  measure
}

function work (what: Partial<Work>): Work {
  return { kind: 'pump', qos: 0, size: 256, window: 1_000, rate: 2_000, ...what }
}

function throughput (qos: 0 | 1, size: number, workers: number): Case<Publishing> {
  // A thousand of a quarter of a megabyte are more than anybody should have under way.
  const window = size > 65_536 ? 16 : 1_000
  return {
    name: nameOf(qos, size, workers),
    setting: { workers, work: work({ qos, size, window }) },
    competitors: size === 256 && workers === 1 ? [...COMPETITORS, MAIN_THREAD] : COMPETITORS
  }
}

function calm (name: string, what: Partial<Work>): Case<Publishing> {
  return { name: `${name}, 256 B, 1 worker`, setting: { workers: 1, work: work(what) }, competitors: COMPETITORS }
}

function nameOf (qos: 0 | 1, size: number, workers: number): string {
  const text = size < 1024 ? `${size} B` : `${size / 1024} KiB`
  return `QoS ${qos}, ${text}, ${workers} ${workers === 1 ? 'worker' : 'workers'}`
}

function goal (qos: 0 | 1, size: number, workers: number, competitor: string, atLeast: number): Goal {
  const name = nameOf(qos, size, workers)
  return { metric: RATE.name, of: { case: name, competitor: OURS }, to: { case: name, competitor }, atLeast }
}

async function measure (competitor: string, setting: Publishing, seconds: number): Promise<Figures> {
  return await withCleanup(async owner => {
    const broker = await startNullBroker(owner)
    return competitor === MAIN_THREAD
      ? await measureMainThread(owner, broker, setting, seconds)
      : await measureWorkers(owner, broker, competitor, setting, seconds)
  })
}

async function measureWorkers (
  owner: Cleanup, broker: NullBroker, competitor: string, { workers, work }: Publishing, seconds: number
): Promise<Figures> {
  const onPort = await openHost(owner, competitor, broker.url)
  const crew = new Crew(owner, workers, { competitor, url: broker.url, work }, onPort)
  await crew.ready()
  const before = await broker.counts()
  const { took, sent, total, latencies } = await crew.work(seconds)
  const after = await broker.counts()
  same('published', total, after.published)
  const figures = { ...perMessage(took, sent), broker: busy(before, after) }
  if (latencies.length === 0) return figures
  const sorted = Float64Array.from(latencies).sort()
  return { ...figures, p50: percentile(sorted, 0.5), p99: percentile(sorted, 0.99) }
}

/** What the main thread pays when it publishes itself. */
async function measureMainThread (owner: Cleanup, broker: NullBroker, { work }: Publishing, seconds: number): Promise<Figures> {
  const { figures, total } = await measurePublishing(owner, MAIN_THREAD, broker.url, { ...work, version: 4 }, seconds)
  same('published', total, (await broker.counts()).published)
  return figures
}
