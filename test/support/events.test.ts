import { EventEmitter } from 'node:events'
import t from 'tap'
import { nextEvent, waitFor, withinTime } from './events.ts'

t.test('waitFor', async t => {
  let asked = 0
  await waitFor(() => ++asked === 30, 'the thirtieth question')
  t.equal(asked, 30)
  await waitFor(async () => true, 'a promise')
  await t.rejects(waitFor(() => false, 'the impossible', { within: 20 }), /20 ms in vain for the impossible/)
})

t.test('withinTime', async t => {
  t.equal(await withinTime(Promise.resolve(1), 'a value'), 1)
  await t.rejects(withinTime(Promise.reject(new Error('as it is')), 'a value'), /as it is/)
  await t.rejects(withinTime(new Promise(() => {}), 'a miracle', { within: 10 }), /a miracle/)
})

t.test('nextEvent', async t => {
  const emitter = new EventEmitter()
  setImmediate(() => { emitter.emit('thing', 1, 2) })
  t.strictSame(await nextEvent(emitter, 'thing'), [1, 2])
  emitter.on('error', () => {})
  setImmediate(() => { emitter.emit('error', new Error('broken')); emitter.emit('thing', 3) })
  t.strictSame(await nextEvent(emitter, 'thing'), [3], 'an error does not end the wait')
  await t.rejects(nextEvent(emitter, 'thing', { within: 10 }), /the event 'thing'/)
})
