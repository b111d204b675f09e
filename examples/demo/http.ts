import type { FastifyInstance } from 'fastify'
import type { Settings } from './device.ts'
import { TARGET } from './device.ts'
import type { Parts } from './handlers.ts'
import { command } from './topics.ts'

interface PublishBody {
  topic: string
  payload?: unknown
  qos: 0 | 1 | 2
  retain: boolean
}

const filter = { type: 'string', minLength: 1, maxLength: 1024 }

const commandSchema = {
  params: {
    type: 'object',
    properties: { id: { type: 'integer', minimum: 0 } }
  },
  body: {
    type: 'object',
    anyOf: [{ required: ['on'] }, { required: ['target'] }],
    additionalProperties: false,
    properties: {
      on: { type: 'boolean' },
      target: { type: 'number', minimum: TARGET.min, maximum: TARGET.max }
    }
  }
}

const publishSchema = {
  body: {
    type: 'object',
    required: ['topic'],
    additionalProperties: false,
    properties: {
      topic: { type: 'string' },
      payload: {},
      qos: { type: 'integer', enum: [0, 1, 2], default: 0 },
      retain: { type: 'boolean', default: false }
    }
  }
}

/** The HTTP side: commands, publish and subscribe, and what the page reads. */
export function addHttpRoutes (app: FastifyInstance, { feed, filters }: Parts): void {
  app.post<{ Params: { id: number }, Body: Partial<Settings> }>('/devices/:id/command', { schema: commandSchema }, async request => {
    const { id } = request.params
    const startedAt = performance.now()
    const { reasonCode } = await app.mqtt.publish(command, { id }, request.body, { qos: 1 })
    return { topic: command.topicFor({ id }), qos: 1, reasonCode, ms: since(startedAt) }
  })

  app.post<{ Body: PublishBody }>('/publish', { schema: publishSchema }, async request => {
    const { topic, payload, qos, retain } = request.body
    const startedAt = performance.now()
    const { reasonCode } = await app.mqtt.publish(topic, payload, { qos, retain })
    return { topic, qos, retain, reasonCode, ms: since(startedAt) }
  })

  app.post<{ Body: { filter: string } }>('/subscribe', {
    schema: { body: { type: 'object', required: ['filter'], additionalProperties: false, properties: { filter } } }
  }, async request => {
    const granted = await app.mqtt.subscribe(request.body.filter, { qos: 1 })
    filters.add(request.body.filter)
    feed.pushStatus()
    return { filters: filters.list(), granted }
  })

  app.delete<{ Querystring: { filter?: string } }>('/subscribe', {
    schema: { querystring: { type: 'object', properties: { filter } } }
  }, async request => {
    if (request.query.filter === undefined) {
      await app.mqtt.unsubscribeAll()
      filters.clear()
    } else {
      await app.mqtt.unsubscribe(request.query.filter)
      filters.delete(request.query.filter)
    }
    feed.pushStatus()
    return { filters: filters.list() }
  })

  app.get('/status', async () => app.mqtt.status())

  app.get('/topics', async (_request, reply) => reply.type('text/plain; charset=utf-8').send(app.mqtt.printTopics()))

  app.get('/events', (_request, reply) => {
    reply.hijack()
    feed.add(reply.raw)
  })

  app.setErrorHandler<Error & { code?: string, statusCode?: number }>((error, request, reply) => {
    // A pattern is the programmer's, so the plugin's own status is 500; here it is a visitor's filter.
    const statusCode = error.code === 'FST_MQTT_PATTERN' ? 400 : error.statusCode ?? 500
    if (statusCode >= 500) request.log.error(error)
    return reply.code(statusCode).send({ code: error.code ?? 'ERROR', message: error.message })
  })
}

function since (startedAt: number): number {
  return Math.round((performance.now() - startedAt) * 10) / 10
}
