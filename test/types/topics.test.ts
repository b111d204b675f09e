import { expectTypeOf } from 'expect-type'
import t from 'tap'
import { defineTopic, type Converters, type Params, type TopicDefinition, type TopicError } from '../../lib/topics/index.ts'

declare module '../../lib/topics/index.ts' {
  interface Converters { testPoint: readonly [x: number, y: number] }
}

t.test('parameters of a pattern', async t => {
  expectTypeOf<Params<'number/<int:n>'>>().toEqualTypeOf<{ readonly n: number }>()
  expectTypeOf<Params<'<a>/<str:b>/<uuid:c>/<float:d>/<path:e>'>>()
    .toEqualTypeOf<{ readonly a: string, readonly b: string, readonly c: string, readonly d: number, readonly e: string }>()
  expectTypeOf<Params<'a/b'>>().toEqualTypeOf<{}>()
  expectTypeOf<Params<'+/<int:n>/#'>>().toEqualTypeOf<{ readonly n: number }>()
  expectTypeOf<Params<'/<a>//'>>().toEqualTypeOf<{ readonly a: string }>()
  t.pass('types compiled')
})

t.test('converters with arguments', async t => {
  expectTypeOf<Params<'<int(min=0,max=255):n>/<str(length=4):s>/<float(min=-1.5):x>'>>()
    .toEqualTypeOf<{ readonly n: number, readonly s: string, readonly x: number }>()
  expectTypeOf<Params<'<any(on,off):state>'>>().toEqualTypeOf<{ readonly state: 'on' | 'off' }>()
  expectTypeOf<Params<'<any(one):only>'>>().toEqualTypeOf<{ readonly only: 'one' }>()
  expectTypeOf<Params<'<any(a:b,c d):x>'>>().toEqualTypeOf<{ readonly x: 'a:b' | 'c d' }>()
  t.pass('types compiled')
})

t.test('custom converters', async t => {
  expectTypeOf<Converters['testPoint']>().toEqualTypeOf<readonly [x: number, y: number]>()
  expectTypeOf<Params<'<testPoint:at>'>>().toEqualTypeOf<{ readonly at: readonly [x: number, y: number] }>()
  const converters = {
    day: { pattern: /\d{8}/, parse: (text: string): Date | undefined => new Date(text), format: (day: Date) => day.toISOString() }
  }
  const daily = defineTopic('<day:d>/<int:n>', { converters })
  expectTypeOf(daily.match('x')).toEqualTypeOf<{ readonly d: Date, readonly n: number } | null>()
  t.throws(() => {
    // @ts-expect-error a Date is wanted
    daily.topicFor({ d: 'today', n: 1 })
  })
  t.pass('types compiled')
})

t.test('unknown converters', async t => {
  expectTypeOf<Params<'<foo:x>'>>().toEqualTypeOf<{ readonly x: TopicError<"Unknown converter 'foo': add it to the interface Converters"> }>()
  expectTypeOf<Params<'<any:x>'>>().toEqualTypeOf<{ readonly x: TopicError<'any needs a list, as in <any(on,off):state>'> }>()
  t.pass('types compiled')
})

t.test('patterns that are only known at run time', async t => {
  expectTypeOf<Params<string>>().toEqualTypeOf<Readonly<Record<string, unknown>>>()
  expectTypeOf<Params<`a/${string}`>>().toEqualTypeOf<{ readonly [x: string]: unknown }>()
  const dynamic = defineTopic(['a', '<b>'].join('/'))
  expectTypeOf(dynamic.match('a/b')).toEqualTypeOf<Readonly<Record<string, unknown>> | null>()
  t.equal(dynamic.topicFor({ b: 'x' }), 'a/x')
  t.throws(() => dynamic.topicFor())
})

t.test('more than 50 levels', async t => {
  type Ten<S extends string> = `${S}/${S}/${S}/${S}/${S}/${S}/${S}/${S}/${S}/${S}`
  type Deep = `<int:first>/${Ten<'a'>}/${Ten<'b'>}/${Ten<'c'>}/${Ten<'d'>}/${Ten<'e'>}/${Ten<'f'>}/<any(x,y):last>`
  expectTypeOf<Params<Deep>>().toEqualTypeOf<{ readonly first: number, readonly last: 'x' | 'y' }>()
  t.pass('types compiled')
})

t.test('defineTopic', async t => {
  const number = defineTopic('number/<int:n>', { name: 'number' })
  expectTypeOf(number.match('')).toEqualTypeOf<{ readonly n: number } | null>()
  expectTypeOf<typeof number['topicFor']>().parameters.toEqualTypeOf<[params: { readonly n: number }]>()
  expectTypeOf(number.schema).toEqualTypeOf<undefined>()
  const plain = defineTopic('a/b')
  plain.topicFor()
  plain.topicFor({})
  t.throws(() => {
    // @ts-expect-error n is missing
    number.topicFor()
  })
  t.throws(() => {
    // @ts-expect-error n is a number
    number.topicFor({ n: '42' })
  })
  t.throws(() => {
    // @ts-expect-error there is no m
    number.topicFor({ n: 42, m: 1 })
  })
  t.throws(() => {
    // @ts-expect-error there are no parameters
    plain.topicFor({ n: 1 })
  })
  t.throws(() => {
    // @ts-expect-error frozen
    number.match('number/1')!.n = 2
  })
  // @ts-expect-error the payload's schema is an object's property
  defineTopic('a', { schema: { body: {} } })
})

t.test('a definition among others', async t => {
  const number = defineTopic('number/<int:n>', { schema: { payload: { type: 'number' } } })
  const plain = defineTopic('a/b')
  const all: TopicDefinition[] = [number, plain, defineTopic('<any(on,off):s>/<path:p>')]
  expectTypeOf(number).toExtend<TopicDefinition>()
  expectTypeOf(plain).toExtend<TopicDefinition>()
  type ParamsOf<D> = D extends TopicDefinition<infer P> ? P : never
  expectTypeOf<ParamsOf<typeof number>>().toEqualTypeOf<{ readonly n: number }>()
  expectTypeOf<ParamsOf<typeof plain>>().toEqualTypeOf<{}>()
  expectTypeOf(number.schema.payload.type).toEqualTypeOf<'number'>()
  const shared = { payload: { type: 'object' as string } }
  expectTypeOf(defineTopic('a', { schema: shared }).schema).toEqualTypeOf<{ payload: { type: string } }>()
  t.equal(all[0]!.match('number/1')!.n, 1)
})
