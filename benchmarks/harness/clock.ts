import { readFileSync } from 'node:fs'
import { performance } from 'node:perf_hooks'

/** What a stretch of work took. */
export interface Took {
  /** Wall clock. */
  readonly seconds: number
  /** Of all threads of this process, garbage collection included. */
  readonly cpuMicroseconds: number
  /** Of the main thread alone. */
  readonly mainMicroseconds: number
  /** The part of the time in which the event loop of this thread was busy. */
  readonly utilization: number
}

/** Starts the clock; what it returns stops it. Only for the main thread. */
export function startClock (): () => Took {
  const loop = performance.eventLoopUtilization()
  const cpu = process.cpuUsage()
  const main = mainThreadMicroseconds()
  const start = performance.now()
  return () => {
    const seconds = (performance.now() - start) / 1000
    const { user, system } = process.cpuUsage(cpu)
    const { active, utilization } = performance.eventLoopUtilization(loop)
    const end = mainThreadMicroseconds()
    return {
      seconds,
      cpuMicroseconds: user + system,
      // A thread that is ready to run and does not get a processor counts as active, so this is an upper bound.
      mainMicroseconds: main === undefined || end === undefined ? active * 1000 : end - main,
      utilization
    }
  }
}

/** What the main thread has run for, where the system says: Node itself does from 23.9 on. */
function mainThreadMicroseconds (): number | undefined {
  const { threadCpuUsage } = process as unknown as { threadCpuUsage?: () => { user: number, system: number } }
  if (threadCpuUsage !== undefined) {
    const { user, system } = threadCpuUsage.call(process)
    return user + system
  }
  try {
    // Linux: nanoseconds on a processor; the main thread's id is the process's.
    return Number(readFileSync(`/proc/self/task/${process.pid}/schedstat`, 'utf8').split(' ', 1)[0]) / 1000
  } catch {
    return undefined
  }
}
