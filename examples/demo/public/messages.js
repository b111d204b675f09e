import { el, formatBytes, setText } from './dom.js'

const KEPT = 150

const kinds = [
  { kind: 'subscribed', label: 'Subscribed', on: true },
  { kind: 'command', label: 'Commands', on: true },
  { kind: 'status', label: 'Status', on: true },
  // Dozens a second: whoever wants to see them run by can.
  { kind: 'telemetry', label: 'Telemetry', on: false }
]

const clock = new Intl.DateTimeFormat('en-GB', { hour: '2-digit', minute: '2-digit', second: '2-digit', fractionalSecondDigits: 1 })

/** The list of messages: newest on top, still while it is paused or someone reads further down. */
export function createMessages ({ list, box, empty, pause, search, toggles }) {
  const shown = new Set(kinds.filter(({ on }) => on).map(({ kind }) => kind))
  let entries = []
  let waiting = []
  let paused = false

  for (const { kind, label, on } of kinds) {
    const button = el('button', { type: 'button', class: 'toggle', 'aria-pressed': String(on) }, label)
    button.addEventListener('click', () => {
      const pressed = !shown.has(kind)
      if (pressed) shown.add(kind)
      else shown.delete(kind)
      button.setAttribute('aria-pressed', String(pressed))
      renewList()
    })
    toggles.append(button)
  }

  pause.addEventListener('click', () => { setPaused(!paused) })
  box.addEventListener('scroll', () => { if (!holding()) release() }, { passive: true })
  search.addEventListener('input', () => { renewList() })

  function setPaused (value) {
    paused = value
    pause.setAttribute('aria-pressed', String(paused))
    if (!holding()) release()
    updatePause()
  }

  function holding () {
    return paused || box.scrollTop > 8
  }

  function release () {
    if (waiting.length === 0) return updatePause()
    prepend(waiting)
    waiting = []
    updatePause()
  }

  function updatePause () {
    const count = waiting.filter(wanted).length
    const label = paused ? 'Resume' : 'Pause'
    setText(pause, count === 0 ? label : `${label} (${count >= KEPT ? `${KEPT}+` : count} new)`)
  }

  function wanted (entry) {
    if (entry.kind === 'notice') return true
    const words = search.value.trim().toLowerCase()
    const kind = entry.subscribed || entry.kind === 'other' ? 'subscribed' : entry.kind
    return (shown.has(kind) || (entry.subscribed && shown.has(entry.kind)) || entry.error !== undefined) &&
      (words === '' || entry.topic.toLowerCase().includes(words) || entry.payload.toLowerCase().includes(words))
  }

  function prepend (fresh) {
    entries = keep([...fresh].reverse().concat(entries))
    const rows = fresh.filter(wanted).slice(-KEPT).reverse().map(entry => createRow(entry, true))
    list.prepend(...rows)
    while (list.childElementCount > KEPT) list.lastElementChild.remove()
    updateEmpty()
  }

  function renewList () {
    list.replaceChildren(...entries.filter(wanted).slice(0, KEPT).map(entry => createRow(entry, false)))
    updateEmpty()
    updatePause()
  }

  function updateEmpty () {
    empty.hidden = list.childElementCount > 0
    setText(empty, entries.length === 0 ? 'Waiting for messages.' : 'No message of these kinds with this text yet.')
  }

  return {
    /** Takes over what the server remembers, after a (re)connect. */
    load (messages) {
      if (holding()) return
      entries = [...messages].reverse()
      waiting = []
      renewList()
    },
    /** `skipped` entries came before these and were dropped, because this browser read too slowly. */
    add (messages, skipped) {
      if (skipped > 0) messages = [{ kind: 'notice', at: Date.now(), topic: '', payload: `${skipped} messages were skipped: this browser was too slow.` }, ...messages]
      if (messages.length === 0) return
      if (holding()) {
        waiting = waiting.concat(messages).slice(-2 * KEPT)
        updatePause()
      } else {
        prepend(messages)
      }
    }
  }
}

// Telemetry must not push out the rest.
function keep (entries) {
  let telemetry = 0
  let rest = 0
  return entries.filter(({ kind }) => kind === 'telemetry' ? telemetry++ < KEPT : rest++ < KEPT)
}

function payloadText ({ payload, size, cut }) {
  if (size === 0) return '(empty)'
  return cut ? `${formatBytes(size)}: ${payload}…` : payload
}

function createRow (entry, fresh) {
  if (entry.kind === 'notice') return el('li', { class: 'row notice' }, el('time', { class: 'row-time' }, clock.format(entry.at)), el('span', {}, entry.payload))
  const classes = ['row']
  if (fresh) classes.push('fresh')
  if (entry.subscribed || entry.kind === 'other') classes.push('subscribed')
  if (entry.error !== undefined) classes.push('failed')
  return el('li', { class: classes.join(' ') },
    el('time', { class: 'row-time' }, clock.format(entry.at)),
    el('span', { class: 'row-topic' }, entry.topic),
    el('span', { class: 'row-payload' }, payloadText(entry)),
    el('span', { class: 'row-meta' },
      entry.retain ? el('span', { class: 'badge' }, 'retain') : '',
      el('span', {}, `QoS ${entry.qos}`)),
    entry.error === undefined ? '' : el('span', { class: 'row-error' }, entry.error))
}
