import type { MessagePort } from 'node:worker_threads'
import type { Done, Publisher } from '../load/publisher.ts'

/*
 * What most people write first: a message to the main thread for each publish, and one back when it has settled.
 */

/** A worker asks for this. */
export interface PublishRequest {
  readonly id: number
  readonly topic: string
  readonly payload: Uint8Array
  readonly qos: 0 | 1
}

/** And gets this. */
export interface PublishAnswer {
  readonly id: number
  readonly error: string | undefined
}

interface Waiter {
  resolve (): void
  reject (error: Error): void
}

/** The worker's side. */
export function postingPublisher (port: MessagePort, qos: 0 | 1): Publisher {
  const waiting = new Map<number, Waiter>()
  let next = 0
  port.on('message', ({ id, error }: PublishAnswer) => {
    const waiter = waiting.get(id)!
    waiting.delete(id)
    if (error === undefined) waiter.resolve()
    else waiter.reject(new Error(error))
  })
  const post = (topic: string, payload: Uint8Array, quality: 0 | 1): Promise<void> => new Promise((resolve, reject) => {
    const request: PublishRequest = { id: next++, topic, payload, qos: quality }
    waiting.set(request.id, { resolve, reject })
    port.postMessage(request)
  })
  return {
    send: (topic, payload, done) => { post(topic, payload, qos).then(done, done) },
    publish: (topic, payload) => post(topic, payload, qos),
    barrier: () => post('barrier', new Uint8Array(0), 1)
  }
}

/** The main thread's side, around any client. */
export function answerPosts (port: MessagePort, publish: (request: PublishRequest, done: Done) => void): void {
  port.on('message', (request: PublishRequest) => {
    publish(request, outcome => {
      const answer: PublishAnswer = { id: request.id, error: outcome instanceof Error ? outcome.message : undefined }
      port.postMessage(answer)
    })
  })
}
