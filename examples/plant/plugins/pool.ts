import fp from 'fastify-plugin'
import { Piscina } from 'piscina'

declare module 'fastify' {
  interface FastifyInstance { pool: Piscina }
}

/** Threads for what takes long. They start when there is something to do. */
export default fp(async app => {
  const filename = new URL('../tasks/analyse.js', import.meta.url).href
  app.decorate('pool', new Piscina({ filename, minThreads: 0, maxThreads: 2, idleTimeout: 60_000 }))
  // By then no handler waits for a task any more. Piscina would give up those that wait for a thread.
  app.addHook('onClose', async () => { await app.pool.close() })
})
