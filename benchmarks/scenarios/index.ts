import type { Scenario } from '../harness/scenario.ts'
import { bridge } from './bridge.ts'
import { handle } from './handle.ts'
import { match } from './match.ts'
import { publishMosquitto } from './publish-mosquitto.ts'
import { publish } from './publish.ts'
import { receive } from './receive.ts'

/** Each scenario knows its own settings; who runs it only hands them back. */
export const SCENARIOS = [publish, publishMosquitto, receive, handle, match, bridge] as unknown as readonly Scenario[]

/** Whose versions belong to the figures. */
export const PACKAGES = ['fastify', 'mqtt', 'mqtt-packet', 'qlobber']
