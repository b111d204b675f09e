import { createChart, valueAt, WINDOW } from './chart.js'
import { el, setText } from './dom.js'

const kinds = [
  { metric: 'temperature', title: 'Temperature', unit: '°C', digits: 1, minSpan: 6 },
  { metric: 'humidity', title: 'Humidity', unit: '%', digits: 1, minSpan: 10, floor: 0, ceiling: 100 },
  { metric: 'power', title: 'Heater power', unit: 'W', digits: 0, minSpan: 400, floor: 0 }
]

const FRAME = 1000 / 30
const MIN_GAP = 100
const calm = window.matchMedia('(prefers-reduced-motion: reduce)')

/** The chart cards: the readings of every device, drawn as they move. */
export function createCharts (root, serverNow) {
  const devices = new Map()
  const cards = kinds.map(kind => createCard(kind, root))
  let cursor
  let drawnAt = 0

  for (const card of cards) {
    card.canvas.addEventListener('pointermove', event => {
      // As an age, so that the mark stays under the pointer while time goes on.
      cursor = serverNow() - card.chart.momentAt(event.offsetX, serverNow())
    })
    for (const end of ['pointerleave', 'pointercancel']) {
      card.canvas.addEventListener(end, () => { cursor = undefined })
    }
  }

  function frame (time) {
    window.requestAnimationFrame(frame)
    if (time - drawnAt < (calm.matches ? 1000 : FRAME)) return
    drawnAt = time
    draw()
  }

  function draw () {
    const now = serverNow()
    const moment = cursor === undefined ? undefined : now - cursor
    for (const { kind, chart, when } of cards) {
      const series = [...devices.values()].map(({ id, slot, series }) => ({ id, slot, points: series[kind.metric] }))
      chart.draw(now, series, moment, !calm.matches)
      setText(when, moment === undefined ? kind.unit : `${kind.unit}, ${Math.round(cursor / 1000)} s ago`)
    }
  }

  /** Writes the numbers of the legends. */
  function updateLegends () {
    const now = serverNow()
    const moment = cursor === undefined ? undefined : now - cursor
    for (const { kind, values } of cards) {
      for (const { id, series } of devices.values()) {
        const points = series[kind.metric]
        const value = moment === undefined ? current(points, now) : valueAt(points, moment)
        setText(values.get(id), value === undefined ? '–' : value.toFixed(kind.digits))
      }
    }
  }

  function addPoint (id, metric, at, value) {
    const points = devices.get(id)?.series[metric]
    if (points === undefined) return
    // After an outage a queue of readings comes at once; the last one counts.
    const last = points.at(-1)
    if (last !== undefined && at - last[0] < MIN_GAP) last[1] = value
    else points.push([at, value])
    while (points.length > 0 && points[0][0] < at - WINDOW - 3_000) points.shift()
  }

  return {
    start: () => { window.requestAnimationFrame(frame) },
    updateLegends,
    addPoint,
    latest: (id, metric) => current(devices.get(id)?.series[metric] ?? [], serverNow()),

    /** Takes over the server's last minute, after a (re)connect. */
    load (history) {
      devices.clear()
      for (const { id, series } of history) devices.set(id, { id, slot: -1, series })
    },

    /** Takes over who is there, and renews the legends when that changed. */
    setDevices (list) {
      const before = signature([...devices.values()])
      for (const { id, name, slot } of list) {
        const series = devices.get(id)?.series ?? { temperature: [], humidity: [], power: [] }
        devices.set(id, { id, name, slot, series })
      }
      const present = new Set(list.map(({ id }) => id))
      for (const id of devices.keys()) {
        if (!present.has(id)) devices.delete(id)
      }
      if (signature([...devices.values()]) !== before) {
        for (const card of cards) renewLegend(card, list)
        updateLegends()
      }
    }
  }
}

function createCard (kind, root) {
  const canvas = el('canvas', { role: 'img', 'aria-label': `${kind.title} of each device over the last minute. The current values follow as text.` })
  const when = el('span', { class: 'unit' }, kind.unit)
  const legend = el('ul', { class: 'legend', 'aria-label': `${kind.title} now` })
  root.append(el('article', { class: 'card chart' },
    el('div', { class: 'card-head' }, el('h3', {}, kind.title), when),
    el('div', { class: 'plot' }, canvas),
    legend))
  return { kind, canvas, when, legend, values: new Map(), chart: createChart(canvas, kind) }
}

function renewLegend ({ legend, values, kind }, list) {
  values.clear()
  legend.replaceChildren(...list.map(({ id, name, slot }) => {
    const value = el('span', { class: 'legend-value' }, '–')
    values.set(id, value)
    return el('li', {},
      el('span', { class: `swatch series-${slot}`, 'aria-hidden': 'true' }),
      el('span', { class: 'legend-name' }, el('span', { class: 'legend-id' }, String(id)), ` ${name}`),
      value,
      el('span', { class: 'visually-hidden' }, ` ${kind.unit}`))
  }))
}

function current (points, now) {
  const last = points.at(-1)
  return last !== undefined && now - last[0] < WINDOW ? last[1] : undefined
}

function signature (list) {
  return list.map(({ id, name, slot }) => `${id}:${slot}:${name}`).join('|')
}
