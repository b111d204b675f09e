import type { FastifyInstance } from 'fastify'
import { topic, type Message } from '../../lib/index.ts'
import type { Board } from './board.ts'
import { describeMessage } from './describe.ts'
import { parseCommand } from './device.ts'
import type { MessageEntry, Feed } from './feed.ts'
import type { Filters } from './filters.ts'
import type { Fleet } from './fleet.ts'
import { command, status, telemetry } from './topics.ts'

/** What the handlers work on. */
export interface Parts {
  fleet: Fleet
  board: Board
  feed: Feed
  filters: Filters
}

/** The way of a controller: a class whose methods say which topics they take. */
class Commands {
  readonly #parts: Parts

  constructor (parts: Parts) {
    this.#parts = parts
  }

  @topic(command, { name: 'command', qos: 1 })
  onCommand (message: Message<typeof command>): void {
    const { fleet, feed, filters } = this.#parts
    fleet.apply(message.params.id, parseCommand(message.body))
    feed.pushMessage(describeMessage(message, 'command', filters.cover(message.topic)))
  }
}

/** Declares every route of the demo; resolves when the broker has answered to all of them. */
export function addHandlers (app: FastifyInstance, parts: Parts): Promise<unknown> {
  const { board, feed, filters } = parts

  function show (message: Message, kind: MessageEntry['kind'], error?: Error): void {
    const entry = describeMessage(message, kind, filters.cover(message.topic))
    feed.pushMessage(error === undefined ? entry : { ...entry, error: error.message })
  }

  // The types come from the pattern: `id` is a number, `metric` one of three words.
  const telemetryRoute = app.mqtt.topic(telemetry, { name: 'telemetry' }, function (message) {
    const { id, metric } = message.params
    const text = message.text().trim()
    const value = Number(text)
    if (text === '' || !Number.isFinite(value)) throw new Error('telemetry is a number, such as 21.5')
    if (board.value(id, metric, value, message.receivedAt)) {
      feed.pushValue({ type: 'value', id, metric, value, at: message.receivedAt })
    }
    show(message, 'telemetry')
  })

  const statusRoute = app.mqtt.topic(status, { name: 'status', qos: 1 }, function (message) {
    board.report(message.params.id, parseCommand(message.body))
    show(message, 'status')
    feed.pushStatus()
  })

  const commandRoutes = app.mqtt.controller(new Commands(parts))

  // What subscribe() asked for and no route takes ends up here.
  app.mqtt.setNotFoundHandler(message => { show(message, 'other') })

  app.mqtt.setErrorHandler((error, message) => {
    show(message, (message.route?.name ?? 'other') as MessageEntry['kind'], error)
  })

  return Promise.allSettled([telemetryRoute, statusRoute, ...commandRoutes].map(route => route.subscribed))
}
