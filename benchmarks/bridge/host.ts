import type { MessagePort } from 'node:worker_threads'
import type { Cleanup } from '../harness/cleanup.ts'
import { startApplication } from '../load/application.ts'
import { connectMqttJs, frugalMqttJsPublisher } from '../load/mqttjs.ts'
import { OURS } from '../load/names.ts'
import { answerPosts } from './post-each.ts'
import { POST_EACH } from './work.ts'

/** Prepares the main thread for a competitor's workers; returns what to do with their channels, where they need any. */
export async function openHost (owner: Cleanup, competitor: string, url: string): Promise<((port: MessagePort) => void) | undefined> {
  if (competitor === OURS) {
    await startApplication(owner, url, 4)
    return undefined
  }
  if (competitor !== POST_EACH) return undefined
  const client = await connectMqttJs(url, 4)
  owner.after(() => client.endAsync())
  // At its fastest here, too: what is compared is the way to it.
  const publishers = [frugalMqttJsPublisher(client, 0), frugalMqttJsPublisher(client, 1)] as const
  return port => {
    answerPosts(port, ({ topic, payload, qos }, done) => {
      publishers[qos].send(topic, Buffer.from(payload.buffer, payload.byteOffset, payload.length), done)
    })
  }
}
