import type { Took } from '../harness/clock.ts'
import type { Figures, Metric } from '../harness/scenario.ts'

export const RATE: Metric = { name: 'rate', title: 'messages/s', more: true }
export const CPU: Metric = { name: 'cpu', title: 'µs CPU each', more: false }
export const MAIN: Metric = { name: 'main', title: 'µs of the main thread each', more: false }
export const LOOP: Metric = { name: 'loop', title: 'event loop busy', more: false }
export const HEAP: Metric = { name: 'heap', title: 'bytes of heap each', more: false }
export const BROKER: Metric = { name: 'broker', title: 'broker busy', more: false }

/** The figures of so many messages. */
export function perMessage (took: Took, messages: number): Figures {
  return {
    rate: messages / took.seconds,
    cpu: took.cpuMicroseconds / messages,
    main: took.mainMicroseconds / messages,
    loop: took.utilization
  }
}
