import { describeReason, send, withPatience } from './api.js'
import { el, setText } from './dom.js'

/** The device cards. A card shows what its device reported, not what was asked of it. */
export function createDevices (root, latest) {
  const cards = new Map()
  let target = { min: 5, max: 35 }

  return {
    configure (range) {
      target = range
    },

    update (list) {
      // A device from outside has its lines in the charts; how to command it only its owner knows.
      for (const device of list.filter(({ simulated }) => simulated)) {
        let card = cards.get(device.id)
        if (card === undefined) {
          card = createCard(device, target)
          cards.set(device.id, card)
          root.append(card.node)
        }
        card.update(device)
      }
      for (const [id, card] of cards) {
        if (list.some(device => device.id === id)) continue
        card.node.remove()
        cards.delete(id)
      }
    },

    updateReadings () {
      for (const [id, card] of cards) {
        const temperature = latest(id, 'temperature')
        setText(card.reading, temperature === undefined ? '–' : `${temperature.toFixed(1)} °C`)
      }
    }
  }
}

function createCard (device, range) {
  const slider = el('input', {
    type: 'range',
    min: String(range.min),
    max: String(range.max),
    step: '1',
    'aria-label': `Target temperature of ${device.name}`
  })
  const shownTarget = el('output', { class: 'target-value' }, '–')
  const less = el('button', { type: 'button', class: 'step', 'aria-label': `Lower the target of ${device.name} by 1 degree` }, '−')
  const more = el('button', { type: 'button', class: 'step', 'aria-label': `Raise the target of ${device.name} by 1 degree` }, '+')
  const power = el('button', { type: 'button', class: 'switch', role: 'switch', 'aria-checked': 'false' },
    el('span', { class: 'switch-track', 'aria-hidden': 'true' }),
    el('span', {}, 'Heater', el('span', { class: 'visually-hidden' }, ` of ${device.name}`)))
  const result = el('p', { class: 'device-result', 'aria-live': 'polite' }, 'no command yet')
  const reading = el('span', { class: 'device-reading' }, '–')

  let reported = {}
  // While someone drags or a command is on its way, what the device reports is older than what the card shows.
  let heldUntil = 0
  let timer

  function command (change) {
    heldUntil = Date.now() + 2_500
    show({ ...reported, ...change })
    withPatience(send('POST', `/devices/${device.id}/command`, change), showWaiting).then(showConfirmed, showError)
  }

  function showWaiting () {
    result.className = 'device-result'
    result.title = 'The broker has not confirmed the command yet.'
    setText(result, 'waiting…')
  }

  function showConfirmed ({ reasonCode, ms }) {
    const { code, text } = describeReason(reasonCode)
    result.className = 'device-result good'
    result.title = `The broker confirmed the command: ${text}`
    setText(result, `${code} in ${ms.toFixed(1)} ms`)
  }

  function showError (error) {
    heldUntil = 0
    show(reported)
    result.className = 'device-result bad'
    result.title = error.message
    setText(result, error.code)
  }

  function commandTarget (value, wait) {
    const next = Math.min(range.max, Math.max(range.min, value))
    heldUntil = Date.now() + wait + 2_500
    show({ ...reported, target: next })
    clearTimeout(timer)
    timer = setTimeout(() => { command({ target: next }) }, wait)
  }

  function show ({ on, target }) {
    power.setAttribute('aria-checked', String(on ?? false))
    if (target === undefined) return
    slider.value = String(target)
    setText(shownTarget, `${target} °C`)
  }

  slider.addEventListener('input', () => { commandTarget(Number(slider.value), 250) })
  less.addEventListener('click', () => { commandTarget(Number(slider.value) - 1, 250) })
  more.addEventListener('click', () => { commandTarget(Number(slider.value) + 1, 250) })
  power.addEventListener('click', () => { command({ on: power.getAttribute('aria-checked') !== 'true' }) })

  const node = el('article', { class: 'card device' },
    el('div', { class: 'device-head' },
      el('div', {},
        el('h3', {}, el('span', { class: `swatch series-${device.slot}`, 'aria-hidden': 'true' }), device.name),
        el('code', {}, `devices/${device.id}`)),
      reading),
    el('div', { class: 'target' }, el('span', { class: 'target-label' }, 'Target'), shownTarget),
    el('div', { class: 'slider' }, less, slider, more),
    el('div', { class: 'device-foot' }, power, result))

  return {
    node,
    reading,
    update (next) {
      if (next.reported === null) return
      const matches = next.reported.on === (power.getAttribute('aria-checked') === 'true') && String(next.reported.target) === slider.value
      reported = next.reported
      if (matches) heldUntil = 0
      if (Date.now() >= heldUntil) show(reported)
    }
  }
}
