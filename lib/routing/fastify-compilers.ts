import type { FastifyInstance } from 'fastify'

/*
 * Fastify builds its compilers with the first HTTP route of an instance that has a schema, with the shared schemas that
 * the instance knows then, and an application may have no such route. There is no public way to ask for it (5.x), so
 * this goes the way that Fastify's route does. Where it cannot be found, what the application has set counts alone.
 */

/** What an instance has behind its back. */
interface SchemaController {
  setupValidator (options: unknown): void
  setupSerializer (options: unknown): void
}

/** Makes sure that `instance.validatorCompiler` is there, and knows the shared schemas of the instance. */
export function setupValidator (instance: FastifyInstance): void {
  ownController(instance)?.setupValidator(ownOptions(instance))
}

/** The same for `instance.serializerCompiler`. */
export function setupSerializer (instance: FastifyInstance): void {
  ownController(instance)?.setupSerializer(ownOptions(instance))
}

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
