import mqtt, { type IPublishPacket, type MqttClient } from 'mqtt'
import type { Command, Settings } from './schemas.ts'

/** Where a device publishes and what it listens to, as the plant has told it when it was registered. */
export interface DeviceTopics {
  telemetry: string
  presence: string
  command: string
  waveform: string
}

export interface DeviceOptions {
  /** 5 for a device that answers commands; the embedded broker speaks 4. */
  protocolVersion: 4 | 5
  /** Does what a command says, and gives the settings from now on. What it throws goes back as the failure. */
  obey: (command: Command) => Settings
}

/** A device, as it may be written with any MQTT client: it says that it is there, and its will that it is not. */
export function connectDevice (url: string, topics: DeviceTopics, { protocolVersion, obey }: DeviceOptions): MqttClient {
  const presence = (online: boolean): string => JSON.stringify({ online, firmware: '2.0.1' })
  const client = mqtt.connect(url, {
    protocolVersion,
    will: { topic: topics.presence, payload: Buffer.from(presence(false)), qos: 1, retain: true }
  })
  client.on('connect', () => {
    client.subscribe(topics.command, { qos: 1 })
    client.publish(topics.presence, presence(true), { qos: 1, retain: true })
  })
  client.on('message', (_topic, payload, { properties }: IPublishPacket) => {
    const { responseTopic, correlationData } = properties ?? {}
    if (responseTopic === undefined || correlationData === undefined) return
    try {
      const settings = obey(JSON.parse(payload.toString()) as Command)
      client.publish(responseTopic, JSON.stringify(settings), { qos: 1, properties: { correlationData } })
    } catch (error) {
      const userProperties = { 'error-code': 'DEVICE_FAILED', 'error-message': (error as Error).message }
      client.publish(responseTopic, '', { qos: 1, properties: { correlationData, userProperties } })
    }
  })
  return client
}
