import { types } from 'node:util'
import type { FastifyInstance } from 'fastify'
import { FST_MQTT_INVALID_BODY, FST_MQTT_OPTIONS, FST_MQTT_PAYLOAD } from '../errors.ts'
import type { TopicSchema } from '../topics/define.ts'
import { setupSerializer, setupValidator } from './fastify-compilers.ts'
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

/**
 * A check by the instance's validator compiler: Ajv, or what the application has set.
 *
 * @throws `FST_MQTT_OPTIONS` when the schema does not compile
 */
export function compileBody (instance: FastifyInstance, schema: unknown, pattern: string, which: keyof TopicSchema = 'payload'): BodyCheck {
  const validate = compile(pattern, which, () => {
    setupValidator(instance)
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
    setupSerializer(instance)
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
