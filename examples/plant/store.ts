import createError from '@fastify/error'
import type { DeviceKey, Reading, Vibration } from './schemas.ts'

/** A device, and the last that was heard of it. */
export interface Device extends DeviceKey {
  online: boolean
  firmware?: string
  reading?: Reading & { at: string }
  vibration?: Vibration & { at: string }
}

/** Over HTTP it is a 404; over MQTT it is what a message has failed with. */
export const UNKNOWN_DEVICE = createError<[device: string, room: number]>('UNKNOWN_DEVICE', 'There is no device "%s" in room %s', 404)

/** Where devices are kept. It is asynchronous so that a database can take its place. */
export interface DeviceStore {
  /** True when it was not there before. */
  add (key: DeviceKey): Promise<boolean>
  /** Rejects with `UNKNOWN_DEVICE`. */
  get (key: DeviceKey): Promise<Device>
  list (room: number): Promise<Device[]>
  /** Rejects with `UNKNOWN_DEVICE`. */
  update (key: DeviceKey, heard: Partial<Device>): Promise<void>
}

export class MemoryStore implements DeviceStore {
  readonly #devices = new Map<string, Device>()

  async add ({ room, device }: DeviceKey): Promise<boolean> {
    const id = idOf({ room, device })
    if (this.#devices.has(id)) return false
    this.#devices.set(id, { room, device, online: false })
    return true
  }

  async get (key: DeviceKey): Promise<Device> {
    const found = this.#devices.get(idOf(key))
    if (found === undefined) throw UNKNOWN_DEVICE(key.device, key.room)
    return found
  }

  async list (room: number): Promise<Device[]> {
    return [...this.#devices.values()].filter(device => device.room === room)
  }

  async update (key: DeviceKey, heard: Partial<Device>): Promise<void> {
    this.#devices.set(idOf(key), { ...await this.get(key), ...heard })
  }
}

function idOf ({ room, device }: DeviceKey): string {
  return `${room}/${device}`
}
