import Fastify, { type FastifyInstance } from 'fastify'
import multimqtt from '../../lib/index.ts'
import { live } from '../../test/support/app.ts'
import type { Cleanup } from '../harness/cleanup.ts'

/** An application with the plugin's own defaults, connected, with all its routes subscribed. */
export async function startApplication (
  owner: Cleanup, url: string, version: 4 | 5, declare: (app: FastifyInstance) => void = () => {}
): Promise<FastifyInstance> {
  const app = Fastify({ logger: false })
  owner.after(() => app.close())
  await app.register(multimqtt, { url, protocolVersion: version })
  declare(app)
  await app.ready()
  await live(app)
  return app
}
