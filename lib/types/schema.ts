import type { Static, TSchema } from 'typebox'
import type { TopicDefinition, TopicSchema } from '../topics/define.ts'
import type { Params } from '../topics/params.ts'

/** The type of a pattern's or definition's parameters. */
export type ParamsOf<Pattern> =
  Pattern extends TopicDefinition<infer P> ? P : Pattern extends string ? Params<Pattern> : never

/** The schemas of a definition. */
export type SchemaOf<Pattern> = Pattern extends TopicDefinition<any, infer S> ? S : unknown

/** The schemas of a definition; those of a pattern are yet to be given. */
export type SchemaIn<Pattern> = Pattern extends TopicDefinition<any, infer S extends TopicSchema> ? S : TopicSchema

/** The type that a schema describes: of TypeBox, and of what follows Standard Schema, as zod and valibot do. */
export type TypeOf<Schema> =
  Schema extends { readonly '~standard': { readonly types?: { readonly output: infer T } | undefined } } ? T
    : Schema extends { readonly static: infer T } ? T
      : Schema extends TSchema ? Static<Schema> : unknown

/** The type of a body, by the schema of the payload. */
export type BodyOf<Schema> = Schema extends { readonly payload: infer P } ? TypeOf<P> : unknown

/** What is published to a definition's topics: what its payload schema says, or bytes that are encoded already. */
export type PayloadOf<D> = SchemaOf<D> extends { readonly payload: infer P } ? TypeOf<P> | Uint8Array : unknown

/** What a definition's placeholders need, before the payload. */
export type TopicArguments<D> = [keyof ParamsOf<D>] extends [never] ? [] : [params: ParamsOf<D>]
