import mqtt, { type IClientOptions } from 'mqtt'
import { createEmbeddedBroker, type EmbeddedBroker } from '../../lib/embedded/broker.ts'
import type { EmbeddedOptions } from '../../lib/embedded/options.ts'
import { connected, type Peer } from '../support/client.ts'
import type { Owner } from '../support/folder.ts'
import { recordingLogger, type RecordingLogger } from '../support/logger.ts'

export interface Started {
  broker: EmbeddedBroker
  logger: RecordingLogger
  /** Of its TCP listener, where there is one. */
  url: string
}

/** A started broker that ends with the test. */
export async function startEmbedded (t: Owner, options: EmbeddedOptions = {}): Promise<Started> {
  const logger = recordingLogger()
  const broker = createEmbeddedBroker(options, logger)
  t.after(() => broker.close())
  await broker.start()
  return { broker, logger, url: `mqtt://127.0.0.1:${broker.address()?.port ?? 0}` }
}

/** The application's own client: in memory. */
export async function connectInMemory (t: Owner, broker: EmbeddedBroker, options: IClientOptions = {}): Promise<Peer> {
  return connected(t, new mqtt.MqttClient(() => broker.connect(), { reconnectPeriod: 0, protocolVersion: 4, ...options }))
}
