import { GCProfiler } from 'node:v8'

/** Counts what this thread allocates on its heap; returns what ends that and gives the bytes. Array buffers are not on the heap. */
export function countAllocations (): () => number {
  const profiler = new GCProfiler()
  const before = process.memoryUsage().heapUsed
  profiler.start()
  return () => {
    const collections = profiler.stop()?.statistics ?? []
    const collected = collections.reduce((sum, { beforeGC, afterGC }) => sum + used(beforeGC) - used(afterGC), 0)
    return process.memoryUsage().heapUsed - before + collected
  }
}

function used ({ heapStatistics }: { heapStatistics: { usedHeapSize: number } }): number {
  return heapStatistics.usedHeapSize
}
