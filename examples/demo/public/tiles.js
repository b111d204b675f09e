import { el, formatBytes, formatCount, setText } from './dom.js'

// Rates over a few seconds: one second alone jumps about.
const SAMPLES = 7

const tiles = [
  { label: 'Published', value: rate('published'), unit: '/s', note: total('published') },
  { label: 'Received', value: rate('received'), unit: '/s', note: total('received') },
  { label: 'Handled', value: rate('handled'), unit: '/s', note: total('handled') },
  { label: 'In flight', value: s => formatCount(s.mqtt.outbox.inflight), note: () => 'unconfirmed' },
  { label: 'Outbox', value: s => formatBytes(s.mqtt.outbox.bytes), note: s => queued(s.mqtt.outbox) },
  { label: 'Inbox', value: s => formatBytes(s.mqtt.inbox.bytes), note: s => queued(s.mqtt.inbox) },
  { label: 'Worker threads', value: s => formatCount(s.mqtt.workers), note: s => `${formatCount(s.pool.completed)} tasks done` },
  { label: 'Problems', value: s => formatCount(problems(s)), note: s => problemKinds(s), alert: s => problems(s) > 0 }
]

function rate (counter) {
  return (status, rates) => formatRate(rates[counter])
}

function total (counter) {
  return status => `${formatCount(status.mqtt.counters[counter])} in all`
}

function queued ({ messages }) {
  return messages === 1 ? '1 message' : `${formatCount(messages)} messages`
}

function problems ({ mqtt: { counters } }) {
  return counters.failed + counters.refused + counters.dropped + counters.oversize
}

function problemKinds ({ mqtt: { counters } }) {
  const kinds = ['failed', 'refused', 'dropped', 'oversize'].filter(kind => counters[kind] > 0)
  return kinds.length === 0 ? 'none' : kinds.map(kind => `${counters[kind]} ${kind}`).join(', ')
}

function formatRate (value) {
  if (value === undefined) return '–'
  return value < 100 ? value.toFixed(1) : formatCount(Math.round(value))
}

export function createTiles (root) {
  const samples = []
  const views = tiles.map(tile => {
    const value = el('span', { class: 'tile-number' }, '–')
    const note = el('span', { class: 'tile-note' }, '\u00a0')
    const node = el('div', { class: 'tile' },
      el('dt', {}, tile.label),
      el('dd', {}, el('span', { class: 'tile-value' }, value, tile.unit ? el('span', { class: 'tile-unit' }, tile.unit) : ''), note))
    root.append(node)
    return { tile, node, value, note }
  })

  return {
    reset () {
      samples.length = 0
    },
    update (status) {
      samples.push(status)
      if (samples.length > SAMPLES) samples.shift()
      const rates = computeRates(samples)
      for (const { tile, node, value, note } of views) {
        setText(value, tile.value(status, rates))
        setText(note, tile.note(status))
        node.classList.toggle('alert', tile.alert?.(status) ?? false)
      }
    }
  }
}

function computeRates (samples) {
  const first = samples[0]
  const last = samples.at(-1)
  const seconds = (last.now - first.now) / 1000
  if (seconds < 0.5) return {}
  const rates = {}
  for (const name of ['published', 'received', 'handled']) {
    rates[name] = Math.max(0, last.mqtt.counters[name] - first.mqtt.counters[name]) / seconds
  }
  return rates
}
