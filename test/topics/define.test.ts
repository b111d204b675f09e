import t from 'tap'
import { defineTopic, filterMatches, FST_MQTT_PARAM, FST_MQTT_PATTERN } from '../../lib/topics/index.ts'

t.test('a definition', async t => {
  const number = defineTopic('number/<int:n>', { name: 'number', schema: { payload: { type: 'number' } } })
  t.equal(number.pattern, 'number/<int:n>')
  t.equal(number.filter, 'number/+')
  t.equal(number.name, 'number')
  t.strictSame(number.schema, { payload: { type: 'number' } })
  t.equal(number.converters, undefined)
  t.equal(number.match('number/42')!.n, 42)
  t.equal(number.match('number/x'), null)
  t.equal(number.match(''), null)
  t.equal(number.topicFor({ n: 42 }), 'number/42')
  t.throws(() => number.topicFor({ n: 4.2 }), { code: 'FST_MQTT_PARAM' })
  t.ok(Object.isFrozen(number))
  t.equal(number.topicFor(number.match('number/7')!), 'number/7', 'with what matched')
})

t.test('without parameters', async t => {
  const plain = defineTopic('a/b')
  t.equal(plain.topicFor(), 'a/b')
  t.equal(plain.topicFor({}), 'a/b')
  t.strictSame(Object.entries(plain.match('a/b')!), [])
  t.equal(plain.name, undefined)
  t.equal(plain.schema, undefined)
  t.ok(defineTopic('a/#').match('a'), 'wildcards match too')
  t.throws(() => defineTopic('a/#').topicFor(), { code: 'FST_MQTT_PARAM' })
})

t.test('with converters of its own', async t => {
  const converters = { hex: { pattern: /[0-9a-f]+/, parse: (text: string) => Number.parseInt(text, 16), format: (n: number) => n.toString(16) } }
  const color = defineTopic('color/<hex:rgb>', { converters })
  t.equal(color.topicFor({ rgb: 255 }), 'color/ff')
  t.equal(color.match('color/ff')!.rgb, 255)
  t.equal(color.converters!.hex, converters.hex)
  t.ok(Object.isFrozen(color.converters))
  t.throws(() => defineTopic('color/<hex:rgb>'), { code: 'FST_MQTT_PATTERN' })
})

t.test('what else is part of the entry', async t => {
  t.ok(FST_MQTT_PARAM('x') instanceof FST_MQTT_PARAM)
  t.ok(new FST_MQTT_PATTERN('x') instanceof FST_MQTT_PATTERN)
  t.equal(String(FST_MQTT_PARAM('x')), 'FastifyError [FST_MQTT_PARAM]: x')
  t.equal(filterMatches('number/+', 'number/42'), true)
})
