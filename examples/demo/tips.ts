import type { FastifyInstance } from 'fastify'
import { command, telemetry } from './topics.ts'

/** Something to try, as a line to paste into a terminal. */
export interface Tip {
  text: string
  line: string
}

/** The broker without anything secret in it. */
export interface Broker {
  /** As a URL, to be read by people. */
  label: string
  embedded: boolean
  /** How mosquitto_pub and mosquitto_sub reach it; undefined when they cannot (WebSocket). */
  options: string | undefined
}

const ports: Record<string, number> = { mqtt: 1883, mqtts: 8883, ws: 80, wss: 443 }

export function describeBroker (app: FastifyInstance, url?: string): Broker {
  if (url === undefined) {
    const address = app.mqtt.embedded?.address()
    const host = address?.host ?? '127.0.0.1'
    const port = address?.port ?? ports.mqtt
    return { label: `mqtt://${host}:${port}`, embedded: true, options: `-h ${host} -p ${port}` }
  }

  const { protocol, hostname, port, username } = new URL(url)
  const scheme = protocol.slice(0, -1)
  const host = hostname || '127.0.0.1'
  const actualPort = port || ports[scheme]
  const options = [`-h ${host} -p ${actualPort}`]
  if (scheme === 'mqtts') options.push('--tls-use-os-certs')
  if (username !== '') options.push(`-u ${decodeURIComponent(username)} -P "$PASSWORD"`)
  return {
    label: `${scheme}://${host}:${actualPort}`,
    embedded: false,
    options: scheme.startsWith('mqtt') ? options.join(' ') : undefined
  }
}

/** What to try next. `origin` is where the page is. */
export function tips (app: FastifyInstance, broker: Broker, origin: string): Tip[] {
  const absolute = { absolute: true }
  const heat = app.mqtt.topicFor(command, { id: 1 }, absolute)
  const stranger = app.mqtt.topicFor(telemetry, { id: 9, metric: 'temperature' }, absolute)
  const everything = heat.replace('1/command', '#')

  const list: Tip[] = []
  if (broker.options !== undefined) {
    list.push(
      {
        text: 'Heat the first device to 30 °C from another terminal and watch its line climb. Any MQTT client will do.',
        line: `mosquitto_pub ${broker.options} -q 1 -t ${heat} -m 30`
      },
      {
        text: 'No mosquitto at hand? The client of mqtt.js came with npm install.',
        line: `npx mqtt pub ${broker.options.replace(/ --tls-use-os-certs/, ' -C mqtts')} -q 1 -t ${heat} -m 18`
      },
      {
        text: 'Add a line of your own to the chart.',
        line: `mosquitto_pub ${broker.options} -t ${stranger} -m 16.5`
      },
      {
        text: 'Listen in on every device.',
        line: `mosquitto_sub ${broker.options} -v -t '${everything}'`
      }
    )
  }
  list.push({
    text: 'Send the same command over HTTP. The answer comes when the broker has confirmed it.',
    line: `curl -X POST ${origin}/devices/1/command -H 'content-type: application/json' -d '{"target":24}'`
  })
  if (broker.embedded) {
    list.push({
      text: 'Do all this on a real broker: stop this one first, or name another host. The path keeps your topics apart from other people’s.',
      line: 'MQTT_URL=mqtt://127.0.0.1:1883/my-demo npm start'
    })
  }
  return list
}
