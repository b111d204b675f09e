import t, { type Test } from 'tap'
import type { FastifyInstance } from 'fastify'
import { topic, type Message } from '../../lib/index.ts'
import { buildApp } from '../support/app.ts'

/* The decorator. */

async function build (t: Test): Promise<FastifyInstance> {
  const { app } = await buildApp(t, { connect: false })
  return app
}

t.test('the name is the method\'s, or the one given; options count; `this` is the object', async t => {
  class Numbers {
    readonly factor: number
    constructor (factor: number) { this.factor = factor }

    @topic('number/<int:n>', { qos: 1, parse: 'text', config: 'of the route' })
    async onNumber (message: Message<'number/<int:n>'>): Promise<unknown> {
      return [this.factor * message.params.n, message.body, message.route!.config]
    }

    @topic('other/<int:n>', { name: 'given' })
    onOther ({ params }: Message<'other/<int:n>'>): number { return this.factor + params.n }

    plain (): void {}
  }
  const app = await build(t)
  let routes: string[] = []
  await app.register(async child => {
    routes = child.mqtt.controller(new Numbers(10)).map(({ name, filter }) => `${name} ${filter}`)
  }, { mqttPrefix: 'child' })
  t.strictSame(routes, ['onNumber child/number/+', 'given child/other/+'])
  t.strictSame((await app.mqtt.inject({ topic: 'child/number/4', payload: '7' })).results, [[40, '7', 'of the route']])
  t.strictSame((await app.mqtt.inject({ topic: 'child/other/4' })).results, [14])
  t.match(app.mqtt.subscriptions, [{ qos: 1 }, { qos: 0 }])
})

t.test('two objects of one class: each has its own `this`, and neither its method\'s name alone', async t => {
  class Lamp {
    readonly id: string
    constructor (id: string) { this.id = id }
    @topic('lamp')
    onLamp (): string { return this.id }
  }
  const app = await build(t)
  const routes = ['a', 'b'].flatMap(id => app.mqtt.controller(new Lamp(id)))
  t.strictSame(routes.map(({ name }) => name), [undefined, undefined])
  t.throws(() => app.mqtt.topicFor('onLamp'), { code: 'FST_MQTT_ROUTE_UNKNOWN', message: /Several/ })
  t.strictSame((await app.mqtt.inject({ topic: 'lamp' })).results, ['a', 'b'])
})

t.test('an override that is decorated anew takes the place of the one it overrides', async t => {
  const seen: string[] = []
  class Base {
    @topic('a', { qos: 1 })
    onMessage (): void { seen.push('base') }
  }
  class Derived extends Base {
    @topic('a', { qos: 2 })
    override onMessage (): void { seen.push('derived') }
  }
  const app = await build(t)
  t.equal(app.mqtt.controller(new Derived()).length, 1)
  await app.mqtt.inject({ topic: 'a' })
  t.strictSame(seen, ['derived'])
  t.equal(app.mqtt.topicFor('onMessage'), 'a')
})
