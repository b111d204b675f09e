/*
 * A heated greenhouse bay, as much of it as a chart needs: warmth leaks out, a heater brings it back, warm air is drier.
 */

/** What a command can change. */
export interface Settings {
  on: boolean
  target: number
}

/** What a device measures. */
export interface Climate {
  temperature: number
  humidity: number
  power: number
}

export interface DeviceModel {
  readonly id: number
  readonly name: string
  readonly settings: Settings
  readonly climate: Climate
}

export const TARGET = { min: 5, max: 35 }

const OUTSIDE = 14
const LEAK_SECONDS = 9
const WATTS_PER_DEGREE = 60
const MAX_WATTS = 1800
const STANDBY_WATTS = 4

const bays = [
  { name: 'Seedlings', target: 22 },
  { name: 'Herbs', target: 18 },
  { name: 'Tomatoes', target: 25 },
  { name: 'Orchids', target: 28 }
]

export function createDevice (id: number): DeviceModel {
  const bay = bays[(id - 1) % bays.length]!
  const temperature = bay.target
  return {
    id,
    name: id <= bays.length ? bay.name : `${bay.name} ${id}`,
    settings: { on: true, target: bay.target },
    climate: { temperature, humidity: restingHumidity(temperature, id), power: 0 }
  }
}

/** The climate `seconds` later. `now` drives the weather: a slow swing of its own for each bay. */
export function step (climate: Climate, settings: Settings, id: number, now: number, seconds: number): Climate {
  const weather = OUTSIDE + 1.6 * Math.sin(now / 7000 + id * 1.9) + 0.7 * Math.sin(now / 2300 + id)
  const power = settings.on ? heaterPower(climate.temperature, settings.target) : STANDBY_WATTS
  const resting = weather + power / WATTS_PER_DEGREE
  const temperature = approach(climate.temperature, resting, seconds / LEAK_SECONDS) + noise(0.04)
  const humidity = approach(climate.humidity, restingHumidity(temperature, id), seconds / 4) + noise(0.25)
  return { temperature, humidity: Math.min(100, Math.max(0, humidity)), power: Math.max(0, power + noise(power * 0.012)) }
}

/** Reads a command as devices take it; throws with a text for people when it makes no sense. */
export function parseCommand (body: unknown): Partial<Settings> {
  if (typeof body === 'number') return parseCommand({ target: body })
  if (body === 'on' || body === 'off') return { on: body === 'on' }
  if (typeof body !== 'object' || body === null) throw new Error('a command is {"on":true}, {"target":22}, 22, on or off')

  const { on, target } = body as Record<string, unknown>
  const change: Partial<Settings> = {}
  if (on !== undefined) {
    if (typeof on !== 'boolean') throw new Error('"on" is true or false')
    change.on = on
  }
  if (target !== undefined) {
    if (typeof target !== 'number' || !(target >= TARGET.min && target <= TARGET.max)) {
      throw new Error(`"target" is a number from ${TARGET.min} to ${TARGET.max}`)
    }
    change.target = target
  }
  return change
}

function heaterPower (temperature: number, target: number): number {
  const wanted = (target - OUTSIDE) * WATTS_PER_DEGREE + (target - temperature) * 150
  return Math.min(MAX_WATTS, Math.max(STANDBY_WATTS, wanted))
}

function restingHumidity (temperature: number, id: number): number {
  return 92 - 1.7 * temperature + (id * 7) % 19
}

function approach (value: number, goal: number, share: number): number {
  return goal + (value - goal) * Math.exp(-share)
}

function noise (size: number): number {
  return (Math.random() - 0.5) * 2 * size
}
