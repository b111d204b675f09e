import type { FastifyInstance } from 'fastify'

export default async function healthRoute (app: FastifyInstance): Promise<void> {
  app.get('/health', async (_request, reply) => {
    const mqtt = app.mqtt.status()
    const healthy = mqtt.connected && mqtt.subscriptions.every(({ status }) => status !== 'refused')
    reply.code(healthy ? 200 : 503)
    return { healthy, mqtt }
  })
}
