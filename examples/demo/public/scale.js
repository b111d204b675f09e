const steps = [1, 2, 2.5, 5]

/**
 * A value axis that keeps still: it widens as soon as the data needs it, narrows only when much of it stands empty,
 * and glides there.
 */
export function createScale ({ minSpan, floor, ceiling }) {
  const empty = around({ min: floor ?? 0, max: (floor ?? 0) + minSpan })
  let goal
  let shown

  function fit (extent, animate) {
    if (extent === undefined && goal === undefined) return { ...empty, ticks: ticksOf(empty) }
    if (extent !== undefined && !fits(extent)) goal = around(extent)
    if (shown === undefined || !animate) shown = { low: goal.low, high: goal.high }
    shown.low += (goal.low - shown.low) * 0.12
    shown.high += (goal.high - shown.high) * 0.12
    return { low: shown.low, high: shown.high, ticks: ticksOf(goal) }
  }

  function fits ({ min, max }) {
    if (goal === undefined || min < goal.low || max > goal.high) return false
    const span = Math.max(max - min, minSpan)
    return span > (goal.high - goal.low) * 0.42
  }

  function around ({ min, max }) {
    const spare = Math.max((max - min) * 0.08, (minSpan - (max - min)) / 2, 0)
    let low = floor === undefined ? min - spare : Math.max(floor, min - spare)
    let high = max + spare
    const step = niceStep((high - low) / 4)
    low = Math.floor(low / step) * step
    high = Math.ceil(high / step) * step
    if (ceiling !== undefined) high = Math.max(low + step, Math.min(ceiling, high))
    return { low, high, step }
  }

  return { fit }
}

function niceStep (rough) {
  const power = 10 ** Math.floor(Math.log10(rough))
  return (steps.find(step => step * power >= rough) ?? 10) * power
}

function ticksOf ({ low, high, step }) {
  const ticks = []
  const digits = Number.isInteger(step) ? 0 : 1
  for (let value = low; value <= high + step / 2; value += step) {
    ticks.push({ value, label: value.toFixed(digits) })
  }
  return ticks
}
