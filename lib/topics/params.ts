import type { Converters } from './converters.ts'

/** Shows up in the editor as the type of a parameter whose placeholder is wrong. */
export interface TopicError<Reason extends string> {
  readonly __topicError: Reason
}

/** The value of a custom converter: what its `parse` returns, but for undefined, which means no match. */
type Parsed<C> = C extends { parse (text: string): infer V } ? Exclude<V, undefined> : never

type Value<Kind extends string, Custom> =
  Kind extends keyof Custom ? Parsed<Custom[Kind]>
    : Kind extends keyof Converters ? Converters[Kind]
      : Kind extends 'any' ? TopicError<'any needs a list, as in <any(on,off):state>'>
        : TopicError<`Unknown converter '${Kind}': add it to the interface Converters`>

/** The union of a comma-separated list. */
type Items<List extends string, Found = never> =
  List extends `${infer Item},${infer Rest}` ? Items<Rest, Found | Item> : Found | List

type Placeholder<P extends string, Custom> =
  P extends `${infer Kind}(${infer Args}):${infer Name}`
    ? { readonly [K in Name]: Kind extends 'any' ? Items<Args> : Value<Kind, Custom> }
    : P extends `${infer Kind}:${infer Name}`
      ? { readonly [K in Name]: Value<Kind, Custom> }
      : { readonly [K in P]: string }

type Level<L extends string, Custom> =
  L extends `<${infer P}>` ? Placeholder<P, Custom> : string extends L ? Readonly<Record<string, unknown>> : unknown

// The accumulator makes it tail-recursive: TypeScript then goes about 1 000 levels deep instead of 50.
type Walk<Pattern extends string, Custom, Found> =
  Pattern extends `${infer Head}/${infer Rest}`
    ? Walk<Rest, Custom, Found & Level<Head, Custom>>
    : Found & Level<Pattern, Custom>

type Flatten<T> = { [K in keyof T]: T[K] } & {}

/**
 * The parameters of a pattern: `Params<'rooms/<int:n>/<any(on,off):state>'>` is
 * `{ readonly n: number, readonly state: 'on' | 'off' }`. Of a pattern that is only known at run time they are
 * `Record<string, unknown>`. `Custom` is an object of converters, whose `parse` gives the type.
 */
export type Params<Pattern extends string, Custom = unknown> =
  string extends Pattern ? Readonly<Record<string, unknown>> : Flatten<Walk<Pattern, Custom, unknown>>

/** The arguments after which a topic can be built: none are needed where there are no parameters. */
export type ParamsArgument<P> =
  [keyof P] extends [never] ? [params?: Readonly<Record<string, never>>]
    : string extends keyof P ? [params?: P] : [params: P]
