import { createScale } from './scale.js'

export const WINDOW = 60_000

// Drawn a little late, so that the newest reading glides in instead of popping up.
const DELAY = 900
// A longer silence than this is a gap in the line.
const GAP = 3_000
const PADDING = { top: 10, right: 24, bottom: 22, left: 40 }

/** A line chart of the last minute on a canvas: one line per device. */
export function createChart (canvas, options) {
  const context = canvas.getContext('2d')
  const scale = createScale(options)
  let size = { width: 0, height: 0 }
  let theme

  const observer = new window.ResizeObserver(() => { resize() })
  observer.observe(canvas)
  window.addEventListener('themechange', () => { theme = undefined })

  function resize () {
    const ratio = window.devicePixelRatio || 1
    const width = canvas.clientWidth
    const height = canvas.clientHeight
    canvas.width = Math.round(width * ratio)
    canvas.height = Math.round(height * ratio)
    context.setTransform(ratio, 0, 0, ratio, 0, 0)
    size = { width, height }
  }

  /** `cursor` is a moment to mark, or undefined. */
  function draw (now, series, cursor, animate) {
    if (size.width === 0) return
    theme ??= readTheme(canvas)
    const end = now - DELAY
    const start = end - WINDOW
    const plot = {
      left: PADDING.left,
      right: size.width - PADDING.right,
      top: PADDING.top,
      bottom: size.height - PADDING.bottom
    }
    const { low, high, ticks } = scale.fit(extent(series, start, end), animate)
    const x = at => plot.left + (at - start) / WINDOW * (plot.right - plot.left)
    const y = value => plot.bottom - (value - low) / (high - low) * (plot.bottom - plot.top)

    context.clearRect(0, 0, size.width, size.height)
    context.font = theme.font
    drawGrid(plot, ticks, y)

    context.save()
    context.beginPath()
    context.rect(plot.left, 0, plot.right - plot.left + 6, size.height)
    context.clip()
    for (const { slot, points } of series) drawLine(points, start, end, x, y, theme.series[slot])
    context.restore()

    if (cursor !== undefined) drawCursor(plot, x(cursor), series, cursor, y)
    else drawHeads(series, start, end, x, y)
  }

  function drawGrid (plot, ticks, y) {
    context.lineWidth = 1
    context.strokeStyle = theme.grid
    context.fillStyle = theme.text
    context.textBaseline = 'middle'
    context.textAlign = 'right'
    for (const { value, label } of ticks) {
      const at = Math.round(y(value)) + 0.5
      if (at < plot.top - 1 || at > plot.bottom + 1) continue
      context.beginPath()
      context.moveTo(plot.left, at)
      context.lineTo(plot.right, at)
      context.stroke()
      context.fillText(label, plot.left - 8, at)
    }
    context.textBaseline = 'alphabetic'
    for (const seconds of [60, 40, 20, 0]) {
      const at = plot.right - seconds / 60 * (plot.right - plot.left)
      context.textAlign = seconds === 60 ? 'left' : seconds === 0 ? 'right' : 'center'
      context.fillText(seconds === 0 ? 'now' : `−${seconds} s`, at, size.height - 5)
    }
  }

  function drawLine (points, start, end, x, y, color) {
    context.strokeStyle = color
    context.lineWidth = 2
    context.lineJoin = 'round'
    context.beginPath()
    let previous
    for (const [at, value] of points) {
      if (at < start - GAP) continue
      if (at > end) {
        if (previous !== undefined && at - previous[0] < GAP) context.lineTo(x(end), y(between(previous, [at, value], end)))
        break
      }
      if (previous === undefined || at - previous[0] > GAP) context.moveTo(x(at), y(value))
      else context.lineTo(x(at), y(value))
      previous = [at, value]
    }
    context.stroke()
  }

  // Each line ends in its device's number: colour is never the only way to tell them apart.
  function drawHeads (series, start, end, x, y) {
    const heads = []
    for (const { id, slot, points } of series) {
      const head = headOf(points, end)
      if (head === undefined || head[0] < start) continue
      heads.push({ id, color: theme.series[slot], x: x(head[0]), y: y(head[1]), label: y(head[1]) })
    }
    heads.sort((a, b) => a.y - b.y)
    for (let i = 1; i < heads.length; i++) {
      heads[i].label = Math.max(heads[i].label, heads[i - 1].label + 13)
    }
    const overflow = (heads.at(-1)?.label ?? 0) - (size.height - PADDING.bottom + 2)
    if (overflow > 0) {
      heads.at(-1).label -= overflow
      for (let i = heads.length - 2; i >= 0; i--) heads[i].label = Math.min(heads[i].label, heads[i + 1].label - 13)
    }
    context.textBaseline = 'middle'
    context.textAlign = 'left'
    for (const head of heads) {
      dot(head.x, head.y, head.color)
      context.fillStyle = theme.strong
      context.fillText(String(head.id), head.x + 9, head.label)
    }
  }

  function drawCursor (plot, at, series, moment, y) {
    context.strokeStyle = theme.text
    context.lineWidth = 1
    context.beginPath()
    context.moveTo(Math.round(at) + 0.5, plot.top)
    context.lineTo(Math.round(at) + 0.5, plot.bottom)
    context.stroke()
    for (const { slot, points } of series) {
      const value = valueAt(points, moment)
      if (value !== undefined) dot(at, y(value), theme.series[slot])
    }
  }

  function dot (x, y, color) {
    context.beginPath()
    context.arc(x, y, 4.5, 0, Math.PI * 2)
    context.fillStyle = theme.surface
    context.fill()
    context.beginPath()
    context.arc(x, y, 3.25, 0, Math.PI * 2)
    context.fillStyle = color
    context.fill()
  }

  /** The moment under a place of the canvas, `x` in CSS pixels. */
  function momentAt (x, now) {
    const share = (x - PADDING.left) / (size.width - PADDING.left - PADDING.right)
    return now - DELAY - WINDOW * (1 - Math.min(1, Math.max(0, share)))
  }

  return { draw, momentAt }
}

/** The value of a line at a moment, between two readings if need be. */
export function valueAt (points, moment) {
  for (let i = points.length - 1; i > 0; i--) {
    if (points[i - 1][0] <= moment && moment <= points[i][0]) {
      return points[i][0] - points[i - 1][0] > GAP ? undefined : between(points[i - 1], points[i], moment)
    }
  }
  return undefined
}

function headOf (points, end) {
  for (let i = points.length - 1; i >= 0; i--) {
    if (points[i][0] > end) continue
    const next = points[i + 1]
    return next !== undefined && next[0] - points[i][0] < GAP ? [end, between(points[i], next, end)] : points[i]
  }
  return undefined
}

function between (a, b, at) {
  return b[0] === a[0] ? b[1] : a[1] + (b[1] - a[1]) * (at - a[0]) / (b[0] - a[0])
}

function extent (series, start, end) {
  let min = Infinity
  let max = -Infinity
  for (const { points } of series) {
    for (const [at, value] of points) {
      if (at < start || at > end) continue
      if (value < min) min = value
      if (value > max) max = value
    }
  }
  return min === Infinity ? undefined : { min, max }
}

function readTheme (canvas) {
  const style = window.getComputedStyle(canvas)
  const read = name => style.getPropertyValue(name).trim()
  return {
    grid: read('--grid'),
    text: read('--muted'),
    strong: read('--text'),
    surface: read('--card'),
    series: Array.from({ length: 6 }, (_, i) => read(`--series-${i}`)),
    font: `12px ${style.fontFamily}`
  }
}
