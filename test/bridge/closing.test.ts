import t from 'tap'
import { BroadcastChannel, MessageChannel } from 'node:worker_threads'
import { MARK, PROTOCOL, SPARE_CHANNEL } from '../../lib/bridge/protocol.ts'
import { encodePublish, publishLength } from '../../lib/wire/encode.ts'
import { nextEvent } from '../support/events.ts'
import { Station } from './station.ts'
import { Puppet } from './threads.ts'

/*
 * Promise P3, where an application closes and registers again while its workers publish: whoever is told that nobody is
 * there was not sent. What a worker broadcasts is heard all the same, as long as another namespace is open.
 */

/** What a worker says that has not been answered, in its own words. */
function spare (client: string, attempt: number, topic: string): object {
  const name = Buffer.from([0, topic.length, ...Buffer.from(topic)])
  const buffer = new ArrayBuffer(publishLength(name.length, 0, 1, 5, null))
  encodePublish(Buffer.from(buffer), 0, name, '', 0, 1, false, 5, null)
  const message = { type: 'publish', buffer, prefix: '', version: 5, first: 0, count: 1 }
  return { ns: MARK, protocol: PROTOCOL, namespace: '', client, attempt, threadId: 7, owner: 0, message }
}

t.test('what was broadcast before its worker was turned away is not taken; what is said after that is', async t => {
  const other = new Station({ namespace: 'other' })
  t.teardown(() => other.close())
  const { port1, port2 } = new MessageChannel()
  const closed = nextEvent(port1, 'close')
  process.emit('workerMessage', { ns: MARK, protocol: PROTOCOL, namespace: '', client: 'w', attempt: 2, threadId: 7, port: port2 }, 7)
  await closed
  const station = new Station()
  t.teardown(() => station.close())
  const channel = new BroadcastChannel(SPARE_CHANNEL)
  channel.postMessage(spare('w', 1, 'first attempt'))
  channel.postMessage(spare('w', 2, 'second attempt'))
  channel.postMessage(spare('w', 3, 'third attempt'))
  channel.postMessage(spare('v', 1, 'another worker'))
  channel.close()
  await station.link.until(2)
  t.same(station.topics, ['third attempt', 'another worker'])
  t.same(station.logged, [])
})

t.test('a worker that asks while the application is gone', async t => {
  const other = new Station({ namespace: 'other' })
  t.teardown(() => other.close())
  const puppet = await new Puppet().started()
  let station = new Station()
  const wrong: object[] = []
  let refused = 0
  const rounds = 200
  for (let round = 0; round < rounds; round++) {
    await puppet.publish({ topic: 'before', count: 1, qos: 1 })
    await station.close()
    // Its handshake is answered before anybody is there again, its broadcast may be read after that.
    const opened = new Promise<Station>(resolve => {
      process.once('workerMessage', () => setImmediate(() => resolve(new Station())))
    })
    const results = await puppet.publish({ topic: 'meanwhile', count: 3, qos: 1 }) as Array<{ maybeSent?: boolean }>
    station = await opened
    // Of what is taken this is behind the rest.
    await puppet.publish({ topic: 'after', count: 1, qos: 1 })
    const told = results.flatMap(({ maybeSent }, i) => maybeSent === false ? [] : [`meanwhile/${i}`])
    refused += 3 - told.length
    const sent = station.topics.filter(topic => topic.startsWith('meanwhile'))
    if (String(sent) !== String(told)) wrong.push({ sent, told })
  }
  t.comment(`${refused} of ${3 * rounds} told that nobody is there`)
  t.same(wrong, [])
  await puppet.end()
  await station.close()
})
