import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import createError from '@fastify/error'
import t from 'tap'
import { errors, type MqttErrorCode } from '../lib/errors.ts'
import * as main from '../lib/index.ts'
import * as worker from '../workers/index.ts'
import { ROOT } from './support/project.ts'

/** Does not compile when the type knows another code, or one less. */
const CODES: Readonly<Record<MqttErrorCode, true>> = {
  FST_MQTT_OPTIONS: true,
  FST_MQTT_PATTERN: true,
  FST_MQTT_PARAM: true,
  FST_MQTT_ROUTE_UNKNOWN: true,
  FST_MQTT_ROUTE_DUPLICATE: true,
  FST_MQTT_TOPIC: true,
  FST_MQTT_PAYLOAD: true,
  FST_MQTT_PROPERTY: true,
  FST_MQTT_INVALID_BODY: true,
  FST_MQTT_OUTBOX_FULL: true,
  FST_MQTT_TIMEOUT: true,
  FST_MQTT_ABORTED: true,
  FST_MQTT_CLOSED: true,
  FST_MQTT_POISON: true,
  FST_MQTT_PUBLISH_REFUSED: true,
  FST_MQTT_SUBSCRIBE_REFUSED: true,
  FST_MQTT_CONNECT_REFUSED: true,
  FST_MQTT_SESSION_LOST: true,
  FST_MQTT_NEEDS_V5: true,
  FST_MQTT_REPLY_ERROR: true,
  FST_MQTT_HANDLER_TIMEOUT: true,
  FST_MQTT_NO_PLUGIN: true,
  FST_MQTT_WORKER_TOPIC: true,
  FST_MQTT_WORKER_GONE: true,
  FST_MQTT_DYNSEC: true,
  FST_MQTT_EMBEDDED: true
}

const codes = Object.keys(CODES).sort() as MqttErrorCode[]
const FastifyError = createError.FastifyError
const document = readFileSync(join(ROOT, 'docs/errors.md'), 'utf8')

t.test('code, types, exports and documentation know the same errors', t => {
  t.strictSame(Object.keys(errors).sort(), codes, 'the object errors')
  t.equal(main.errors, errors)
  t.equal(worker.errors, errors)
  const byName = Object.entries(main).filter(([name]) => name.startsWith('FST_'))
  t.strictSame(byName.map(([name]) => name).sort(), codes, 'exports by name')
  for (const [name, value] of byName) t.equal(value, errors[name as MqttErrorCode], `${name} is the same by name`)
  t.strictSame(found(/^### (FST_\w+)$/gm), codes, 'a section for each')
  t.strictSame(found(/^\| \[`(FST_\w+)`\]/gm), codes, 'a row for each')
  const mentioned = new Set(document.match(/FST_MQTT_\w+/g))
  t.strictSame([...mentioned].filter(code => !Object.hasOwn(CODES, code)), [], 'no other is mentioned')
  t.end()
})

for (const code of codes) {
  t.test(code, t => {
    const create = errors[code]
    for (const error of [create('what to do'), new create('what to do')]) { // eslint-disable-line new-cap
      t.equal(error.name, 'FastifyError')
      t.equal(error.code, code)
      t.equal(error.message, 'what to do')
      t.match(error.toString(), code)
      t.ok(Number.isInteger(error.statusCode) && error.statusCode! >= 400 && error.statusCode! <= 599)
      t.ok(error instanceof Error)
      t.ok(error instanceof FastifyError)
      t.ok(error instanceof create)
      t.ok(error.stack?.includes('errors.test'))
    }
    const other = codes.find(other => other !== code)!
    t.notOk(create('x') instanceof errors[other])
    t.match(document, new RegExp(`^\\| \\[\`${code}\`\\]\\(#${code.toLowerCase()}\\) \\| ${create('x').statusCode} \\|$`, 'm'),
      'its row has its status and leads to its section')
    t.end()
  })
}

t.test('a message is not a format', t => {
  for (const code of codes) t.equal(errors[code]('100 %s %d %%').message, '100 %s %d %%', code)
  t.end()
})

function found (expression: RegExp): string[] {
  return [...document.matchAll(expression)].map(([, code]) => code!).sort()
}
