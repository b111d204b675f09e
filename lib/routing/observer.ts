import type { MqttRoute } from './route.ts'

/** Sees what becomes of a message; see `Injector`. */
export interface Observer {
  matched (route: MqttRoute): void
  returned (route: MqttRoute, value: unknown): void
  failed (error: Error): void
}
