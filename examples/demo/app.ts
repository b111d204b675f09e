import Fastify, { type FastifyInstance } from 'fastify'
import multimqtt from '../../lib/index.ts'
import { Board } from './board.ts'
import { TARGET } from './device.ts'
import { Feed } from './feed.ts'
import { Filters } from './filters.ts'
import { Fleet } from './fleet.ts'
import { addHandlers } from './handlers.ts'
import { addHttpRoutes } from './http.ts'
import { addPage } from './page.ts'
import { describeBroker, tips } from './tips.ts'

export interface DemoOptions {
  /** A real broker. Without one, the demo runs its own. */
  url?: string | undefined
  /** The embedded broker's port; 0 is a free one. Default 1883. */
  brokerPort?: number
  /** How many devices to simulate. Default 4. */
  devices?: number
  /** Default `warn`. */
  logLevel?: string
}

/** Builds the whole demo; `listen()` starts it, `close()` ends all of it. */
export async function buildDemo ({ url, brokerPort = 1883, devices = 4, logLevel = 'warn' }: DemoOptions = {}): Promise<FastifyInstance> {
  // Browsers keep sockets open, and open some ahead of need: without force they would hold up close() for a minute.
  const app = Fastify({ logger: { level: logLevel }, forceCloseConnections: true })
  await app.register(multimqtt, url === undefined ? { embedded: { port: brokerPort } } : { url })

  const fleet = new Fleet(devices, error => { app.log.warn(error, 'a device stumbled') })
  const board = new Board(fleet.devices.values())
  const filters = new Filters()
  const feed = new Feed(
    () => {
      const broker = describeBroker(app, url)
      return { broker, target: TARGET, history: board.history(), tips: tips(app, broker, app.listeningOrigin) }
    },
    () => ({ mqtt: app.mqtt.status(), pool: fleet.status(), devices: board.devices(), filters: filters.list() })
  )

  const parts = { fleet, board, feed, filters }
  const subscribed = addHandlers(app, parts)
  addHttpRoutes(app, parts)
  await addPage(app)

  app.addHook('onListen', async () => {
    // Not awaited: without a broker the page comes up all the same. Started earlier, devices would talk to nobody.
    void subscribed.then(() => { fleet.start() })
  })
  app.addHook('preClose', async () => {
    feed.close()
    await fleet.close()
  })
  return app
}
