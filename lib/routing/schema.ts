import { types } from 'node:util'
import type { FastifyInstance } from 'fastify'
import { FST_MQTT_INVALID_BODY, FST_MQTT_OPTIONS, FST_MQTT_PAYLOAD } from '../errors.ts'
import type { TopicSchema } from '../topics/define.ts'
import { isThenable } from './thenable.ts'

/** Gives the body, as the validator has left it. Throws, or rejects with, `FST_MQTT_INVALID_BODY`. */
export type BodyCheck = (body: unknown) => unknown

/** Gives the JSON of a value. Throws `FST_MQTT_PAYLOAD` when that does not fit the schema. */
export type Serialize = (value: unknown) => string

/** What a validator compiler makes of a schema: Ajv's function, or one that gives the value or the error. */
interface Validator {
  (body: unknown, context?: unknown): unknown
  errors?: Complaint[] | null
}

/** One thing that is wrong with a body; of Ajv, or shaped like it. */
interface Complaint {
  readonly instancePath?: string
  readonly schemaPath?: string
  readonly keyword?: string
  readonly params?: unknown
  readonly message?: string
}

/** What Fastify keeps behind its back; see `ownController`. */
interface SchemaController {
  setupValidator (options: unknown): void
  setupSerializer (options: unknown): void
}

/**
 * A check by the instance's validator compiler: Ajv, or what the application has set.
 *
 * @throws `FST_MQTT_OPTIONS` when the schema does not compile
 */
export function compileBody (instance: FastifyInstance, schema: unknown, pattern: string, which: keyof TopicSchema = 'payload'): BodyCheck {
  const validate = compile(pattern, which, () => {
    ownController(instance)?.setupValidator(ownOptions(instance))
    return instance.validatorCompiler?.({ schema, method: 'MQTT', url: pattern, httpPart: 'body' }) as Validator | undefined
  })
  return body => {
    // Ajv puts what it has coerced, or a default, into what holds a value. The validators of others ignore this.
    const holder = { body }
    const result = validate(body, { instancePath: '', parentData: holder, parentDataProperty: 'body', rootData: body })
    return isThenable(result) ? Promise.resolve(result).then(value => conclude(holder.body, value, validate)) : conclude(holder.body, result, validate)
  }
}

/**
 * The serializer of the instance's serializer compiler.
 *
 * @throws `FST_MQTT_OPTIONS` when the schema does not compile
 */
export function compileJson (instance: FastifyInstance, schema: unknown, pattern: string, which: keyof TopicSchema = 'reply'): Serialize {
  const serialize = compile(pattern, which, () => {
    ownController(instance)?.setupSerializer(ownOptions(instance))
    return instance.serializerCompiler?.({ schema, method: 'MQTT', url: pattern, httpStatus: '200' })
  })
  return value => {
    try {
      return serialize(value)
    } catch {
      // Without the serializer's error: it quotes the value.
      throw FST_MQTT_PAYLOAD(`It does not fit the ${which} schema of "${pattern}"`)
    }
  }
}

/** What `publish` would send as JSON, if left to itself. */
export function isJson (value: unknown): boolean {
  return typeof value === 'object' && value !== null && !ArrayBuffer.isView(value) && !types.isAnyArrayBuffer(value)
}

function compile<T> (pattern: string, which: keyof TopicSchema, make: () => T | undefined): T {
  let made: T | undefined
  try {
    made = make()
  } catch (error) {
    throw FST_MQTT_OPTIONS(`schema: the ${which} schema of "${pattern}" does not compile: ${(error as Error).message}`)
  }
  if (typeof made !== 'function') throw FST_MQTT_OPTIONS(`schema: there is no compiler for the ${which} schema of "${pattern}"; set one on the instance`)
  return made
}

/** As Fastify reads the answer of a validator. */
function conclude (body: unknown, result: unknown, { errors }: Validator): unknown {
  if (result === false) throw invalid(errors ?? [])
  if (typeof result === 'object' && result !== null) {
    const { error, value } = result as { error?: unknown, value?: unknown }
    if (error !== undefined && error !== null && error !== false) throw invalid(error)
    if (value !== undefined) return value
  }
  return body
}

/** An error as Fastify's own of an invalid body: `validation`, `validationContext`, `statusCode` 400. */
function invalid (found: unknown): Error {
  const complaints = found as Complaint[] | Error
  const told = Array.isArray(complaints)
    ? complaints.map(({ instancePath = '', message = 'is not valid' }) => `body${instancePath} ${message}`).join(', ')
    : complaints.message ?? 'body is not valid'
  const error = FST_MQTT_INVALID_BODY(told)
  if (!Array.isArray(complaints)) error.cause = complaints
  return Object.assign(error, { validation: Array.isArray(complaints) ? complaints.map(withoutData) : [complaints], validationContext: 'body' })
}

/** With Ajv's option `verbose` the value stands in it, and errors are logged. */
function withoutData ({ instancePath, schemaPath, keyword, params, message }: Complaint): Complaint {
  return { instancePath, schemaPath, keyword, params, message } as Complaint
}

/*
 * Fastify builds its compilers with the first HTTP route of an instance that has a schema, with the shared schemas that
 * the instance knows then, and an application may have no such route. There is no public way to ask for it (5.x), so
 * this goes the way that Fastify's route does. Where it cannot be found, what the application has set counts alone.
 */

function ownController (instance: FastifyInstance): SchemaController | undefined {
  const controller = hidden(instance, 'fastify.schemaController') as Partial<SchemaController> | undefined
  return typeof controller?.setupValidator === 'function' && typeof controller.setupSerializer === 'function' ? controller as SchemaController : undefined
}

function ownOptions (instance: FastifyInstance): unknown {
  return hidden(instance, 'fastify.options') ?? {}
}

/** A property of the instance, or of one that it is encapsulated in. */
function hidden (instance: FastifyInstance, description: string): unknown {
  for (let object: object | null = instance; object !== null; object = Object.getPrototypeOf(object) as object | null) {
    const symbol = Object.getOwnPropertySymbols(object).find(own => own.description === description)
    if (symbol !== undefined) return (instance as unknown as Record<symbol, unknown>)[symbol]
  }
  return undefined
}
