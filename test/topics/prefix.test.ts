import fc from 'fast-check'
import t from 'tap'
import { buildTopic } from '../../lib/topics/build.ts'
import { validateFilter } from '../../lib/topics/filter.ts'
import { parsePattern } from '../../lib/topics/pattern.ts'
import { addPrefix, normalizePrefix, stripPrefix, trimSlashes, withPrefix } from '../../lib/topics/prefix.ts'
import { Router } from '../../lib/topics/router.ts'
import * as arbitrary from './arbitraries.ts'
import { referenceMatch } from './reference.ts'

t.test('slashes at the ends do not count', async t => {
  for (const [prefix, normal] of [['a', 'a'], ['/a/', 'a'], ['//a//b//', 'a//b'], ['', ''], ['/', ''], ['///', ''], ['$SYS', '$SYS'], ['\u00e9 x', '\u00e9 x']] as const) {
    t.equal(normalizePrefix(prefix), normal, prefix)
    t.equal(trimSlashes(prefix), normal, prefix)
  }
})

t.test('a prefix is plain text', async t => {
  for (const [prefix, reason] of [
    ['a/+', /take the "\+" out\n {2}a\/\+\n {4}\^/], ['/a#/', /take the "#" out\n {2}a#\n {3}\^/], ['rooms/<int:n>', /take the "<" out/], ['a>', /take the ">" out/],
    ['a\0', /NUL/], ['\ud800', /surrogate/], ['$share', /option group/], ['$share/g/', /option group/], ['x'.repeat(65_536), /over 65 535 bytes/],
    [5, /must be a string/], [null, /must be a string/]
  ] as const) t.throws(() => normalizePrefix(prefix as string), { code: 'FST_MQTT_PATTERN', message: reason }, String(prefix).slice(0, 20))
})

t.test('put before a topic or a filter', async t => {
  t.equal(addPrefix('p', 'a/b'), 'p/a/b')
  t.equal(addPrefix('p/q', '#'), 'p/q/#')
  t.equal(addPrefix('', 'a'), 'a')
  t.equal(addPrefix('p', '/a'), 'p//a')
  t.equal(addPrefix('p', '$share/g/a/+'), '$share/g/p/a/+')
  t.equal(addPrefix('', '$share/g/a'), '$share/g/a')
  t.equal(addPrefix('p', '$share/g'), 'p/$share/g')
})

t.test('taken off at a level boundary', async t => {
  for (const [prefix, topic, relative] of [
    ['a', 'a/b', 'b'], ['a', 'ab/c', null], ['a', 'a', null], ['a', 'a/', null], ['a', 'a//', '/'], ['a', 'b/a/c', null], ['a/b', 'a/b/c', 'c'],
    ['a/b', 'a/c/c', null], ['', 'a', 'a'], ['a', 'A/b', null], ['a', '', null], ['a', '/a/b', null]
  ] as const) t.equal(stripPrefix(prefix, topic), relative, `${prefix} ${topic}`)
})

const prefix = arbitrary.topic.map(normalizePrefix)

t.test('adding and stripping are inverses', async () => {
  fc.assert(fc.property(prefix, arbitrary.topic, (prefix, topic) => stripPrefix(prefix, addPrefix(prefix, topic)) === topic))
  fc.assert(fc.property(prefix, arbitrary.topic, (prefix, topic) => {
    const relative = stripPrefix(prefix, topic)
    return relative === null || addPrefix(prefix, relative) === topic
  }))
  fc.assert(fc.property(prefix, arbitrary.filter, (prefix, filter) => {
    validateFilter(addPrefix(prefix, filter))
    return addPrefix(prefix, `$share/g/${filter}`) === `$share/g/${addPrefix(prefix, filter)}`
  }))
})

t.test('a pattern below a prefix is the pattern of the whole', async () => {
  fc.assert(fc.property(prefix, arbitrary.pattern, arbitrary.topic, (prefix, text, topic) => {
    const router = new Router<true>()
    const pattern = withPrefix(parsePattern(text), prefix)
    router.add(pattern, true)
    const absolute = addPrefix(prefix, topic)
    const wanted = referenceMatch(addPrefix(prefix, text), absolute)
    const [match] = router.match(absolute)
    return pattern.filter === addPrefix(prefix, parsePattern(text).filter) &&
      pattern.text === addPrefix(prefix, text) &&
      JSON.stringify(match && [match.params, match.wildcards]) === JSON.stringify(wanted === null ? undefined : [wanted.params, wanted.wildcards]) &&
      router.remove(pattern, true)
  }), { numRuns: 2_000 })
})

t.test('with a prefix', async t => {
  const pattern = parsePattern('<a>/<path:p>')
  t.equal(withPrefix(pattern, ''), pattern)
  t.equal(buildTopic(withPrefix(pattern, 'p/q'), { a: '$x', p: 'y' }), 'p/q/$x/y', 'the first level is the prefix')
  t.equal(withPrefix(parsePattern('a'), 'p').isStatic, true)
  t.throws(() => withPrefix(parsePattern('a/'.repeat(127) + 'a'), 'p'), { code: 'FST_MQTT_PATTERN', message: /more than 128 levels with its prefix/ })
  t.throws(() => withPrefix(parsePattern('a'.repeat(65_000)), 'p'.repeat(600)), { code: 'FST_MQTT_PATTERN', message: /with its prefix is over 65 535 bytes/ })
})
