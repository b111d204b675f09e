import { once } from 'node:events'
import { parentPort, workerData } from 'node:worker_threads'
import { oneByOne, paced } from '../load/calm.ts'
import { CALM_WARM_UP, OURS, WARM_UP } from '../load/names.ts'
import { promisePublisher, type Publisher } from '../load/publisher.ts'
import { pump } from '../load/pump.ts'
import { postingPublisher } from './post-each.ts'
import { POST_EACH, READY, type Work, type WorkDone, type WorkerSetup } from './work.ts'

/* A worker thread that publishes, in the manner of one of the competitors. */

void run(workerData as WorkerSetup)

async function run ({ competitor, url, work, port }: WorkerSetup): Promise<void> {
  const control = parentPort!
  const publisher = await connect(competitor, url, work.qos, port)
  // Whoever measures terminates it: a worker that ended by itself would end while others are at work.
  control.on('message', () => {})
  const warm = await perform(publisher, work, work.kind === 'paced' ? CALM_WARM_UP : WARM_UP, [])
  control.postMessage(READY)
  const [seconds] = await once(control, 'message') as [number]
  const latencies: number[] = []
  const sent = await perform(publisher, work, seconds, latencies)
  const done: WorkDone = { sent, total: warm + sent + 2, latencies }
  control.postMessage(done)
}

/** A competitor's modules are loaded by it alone. */
async function connect (competitor: string, url: string, qos: 0 | 1, port: WorkerSetup['port']): Promise<Publisher> {
  if (competitor === OURS) {
    const { mqtt } = await import('../../workers/index.ts')
    await mqtt.ready()
    return promisePublisher(mqtt, qos)
  }
  if (competitor === POST_EACH) return postingPublisher(port!, qos)
  const { connectMqttJs, frugalMqttJsPublisher } = await import('../load/mqttjs.ts')
  return frugalMqttJsPublisher(await connectMqttJs(url, 4), qos)
}

function perform (publisher: Publisher, work: Work, seconds: number, latencies: number[]): Promise<number> {
  switch (work.kind) {
    case 'pump': return pump(publisher, work, seconds)
    case 'await': return oneByOne(publisher, work.size, seconds)
    case 'paced': return paced(publisher, work.size, work.rate, seconds, latencies)
  }
}
