import fc from 'fast-check'
import t from 'tap'
import { TopicCache } from '../../lib/wire/topic-cache.ts'
import { topicName } from './arbitraries.ts'

function framed (text: string): Buffer {
  const bytes = Buffer.from(text)
  return Buffer.concat([Buffer.from([bytes.length >> 8, bytes.length & 255]), bytes])
}

t.test('length, prefix, topic', async () => {
  const plain = new TopicCache('')
  const prefixed = new TopicCache('pre/fix')
  fc.assert(fc.property(topicName, topic =>
    framed(topic).equals(plain.encode(topic, false)) && framed(topic).equals(plain.encode(topic, true)) &&
    framed(`pre/fix/${topic}`).equals(prefixed.encode(topic, false)) && framed(topic).equals(prefixed.encode(topic, true)) &&
    framed(`pre/fix/${topic}`).equals(prefixed.encode(topic, false))
  ), { numRuns: 500 })
})

t.test('what is no topic is refused, each time', async t => {
  const cache = new TopicCache('p')
  const bad: unknown[] = ['', 'a/+', '#', 'a\0', '\ud800', 'a\nb', '\x7f', '\uffff', 'x'.repeat(65_536), undefined, null, 5, {}, Symbol('s')]
  for (const topic of bad) {
    for (let i = 0; i < 2; i++) {
      for (const absolute of [false, true]) {
        t.throws(() => cache.encode(topic as string, absolute), { code: 'FST_MQTT_TOPIC' }, String(topic).slice(0, 20))
      }
    }
  }
})

t.test('the limit is that of the whole topic', async t => {
  const cache = new TopicCache('pre')
  t.equal(cache.encode('x'.repeat(65_531), false).length, 65_537)
  t.throws(() => cache.encode('x'.repeat(65_532), false), { code: 'FST_MQTT_TOPIC', message: /65 535/ })
  t.equal(cache.encode('x'.repeat(65_535), true).length, 65_537)
})

t.test('remembers what is in use, and not more than it may', async t => {
  const cache = new TopicCache('')
  const hot = cache.encode('hot', false)
  const cold = cache.encode('cold', false)
  for (let i = 0; i < 20_000; i++) {
    cache.encode(`some/topic/${i}`, false)
    if (i % 1000 === 0) t.equal(cache.encode('hot', false), hot)
  }
  t.not(cache.encode('cold', false), cold)
  const long = 'x'.repeat(1025)
  t.not(cache.encode(long, false), cache.encode(long, false), 'long topics are encoded each time')
  const many = new TopicCache('')
  const first = many.encode('first', false)
  for (let i = 0; i < 1100; i++) many.encode(`${i}/`.padEnd(1000, 'x'), false)
  t.not(many.encode('first', false), first, 'bytes count, not topics alone')
})

t.test('names of Object.prototype are topics like any other', async t => {
  const cache = new TopicCache('')
  for (const topic of ['__proto__', 'constructor', 'toString']) t.same(Buffer.from(cache.encode(topic, false)), framed(topic))
})
