/** Some devices, as an application has them: few enough to be remembered, and not one alone. */
export const TOPICS: readonly string[] = Array.from({ length: 100 }, (_, i) => `sensors/dev${String(i).padStart(3, '0')}/temperature`)

/** What {@link TOPICS} are matched by. */
export const FILTER = 'sensors/+/temperature'

const READING = '{"deviceId":"dev-00001","time":1732000000000,"temperature":21.5,"humidity":40.25,"note":"'

/** A payload of so many bytes, JSON where there is room for it. Its memory holds nothing else. */
export function payloadOf (size: number): Buffer {
  const payload = Buffer.alloc(size, 'x')
  if (size < READING.length + 2) return payload
  payload.write(READING)
  payload.write('"}', size - 2)
  return payload
}
