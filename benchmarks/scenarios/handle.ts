import type { FastifyInstance } from 'fastify'
import Type from 'typebox'
import type { Scenario } from '../harness/scenario.ts'
import { startApplication } from '../load/application.ts'
import { BROKER, CPU, HEAP, LOOP, RATE } from '../load/metrics.ts'
import { measureReceiving } from '../load/receiving.ts'

const PATTERN = 'sensors/<device>/temperature'
const Reading = Type.Object({
  deviceId: Type.String(), time: Type.Integer(), temperature: Type.Number(), humidity: Type.Number(), note: Type.String()
})

const COUNTS = 'a handler that counts'
const READS = 'one that reads params'
const PARSES = 'one that reads params and JSON'
const HOOKS = 'the same behind two hooks'
const VALIDATED = 'the same, and a schema'

/** What each layer of the way through a route costs: from a handler that looks at nothing to one behind hooks and a schema. */
const LAYERS: Readonly<Record<string, (app: FastifyInstance, seen: () => void) => void>> = {
  [COUNTS]: (app, seen) => { app.mqtt.topic(PATTERN, () => { seen() }) },
  [READS]: (app, seen) => { app.mqtt.topic(PATTERN, ({ params }) => { if (params.device.length === 6) seen() }) },
  [PARSES]: (app, seen) => { app.mqtt.topic(PATTERN, message => { if (message.params.device.length === 6 && isWarm(message.body)) seen() }) },
  [HOOKS]: (app, seen) => {
    addHooks(app)
    LAYERS[PARSES]!(app, seen)
  },
  [VALIDATED]: (app, seen) => {
    addHooks(app)
    app.mqtt.topic(PATTERN, { schema: { payload: Reading } }, ({ params, body }) => { if (params.device.length === 6 && body.temperature > 20) seen() })
  }
}

export const handle: Scenario<undefined> = {
  name: 'handle',
  title: '256 B of JSON, QoS 0, MQTT 5, null broker: each layer of the way to a handler',
  metrics: [RATE, CPU, HEAP, LOOP, BROKER],
  competitors: Object.keys(LAYERS),
  cases: [{ name: 'one route', setting: undefined }],
  goals: [{
    metric: RATE.name, of: { case: 'one route', competitor: VALIDATED }, to: { case: 'one route', competitor: HOOKS }, atLeast: 0.9
  }],
  measure: (competitor, _setting, seconds) => measureReceiving(0, seconds, async (owner, url) => {
    let count = 0
    await startApplication(owner, url, 5, app => { LAYERS[competitor]!(app, () => { count++ }) })
    return () => count
  })
}

function addHooks (app: FastifyInstance): void {
  app.mqtt.addHook('onMessage', message => { if (message.payload.length === 0) throw new Error('empty') })
  app.mqtt.addHook('preHandler', message => { if (message.topic === '') throw new Error('nowhere') })
}

function isWarm (body: unknown): boolean {
  return (body as { temperature: number }).temperature > 20
}
