import { describeReason, send, withPatience } from './api.js'
import { el, setText } from './dom.js'

export function createPublish (form, result) {
  form.addEventListener('submit', async event => {
    event.preventDefault()
    const data = new window.FormData(form)
    const qos = Number(data.get('qos'))
    await report(form, result, async () => {
      const { reasonCode, ms } = await send('POST', '/publish', {
        topic: data.get('topic'),
        payload: data.get('payload'),
        qos,
        retain: data.has('retain')
      })
      return qos === 0
        ? `Handed to the socket in ${ms.toFixed(1)} ms. QoS 0 is not confirmed.`
        : `Confirmed in ${ms.toFixed(1)} ms, ${describeReason(reasonCode).text}.`
    })
  })
}

export function createSubscribe (form, chips, result) {
  let shown

  form.addEventListener('submit', async event => {
    event.preventDefault()
    const filter = form.elements.filter.value
    await report(form, result, async () => {
      const { filters, granted } = await send('POST', '/subscribe', { filter })
      update(filters)
      return `${granted.map(({ qos }) => `Granted QoS ${qos}.`).join(' ')} Its messages are marked in the list.`
    })
  })

  async function remove (filter) {
    await report(form, result, async () => {
      const { filters } = await send('DELETE', `/subscribe?filter=${encodeURIComponent(filter)}`)
      update(filters)
      form.elements.filter.focus()
      return `Unsubscribed from ${filter}.`
    })
  }

  function update (filters) {
    const signature = JSON.stringify(filters)
    if (signature === shown) return
    shown = signature
    chips.replaceChildren(...filters.map(filter => el('li', { class: 'chip' },
      el('span', {}, filter),
      el('button', { type: 'button', 'aria-label': `Unsubscribe from ${filter}`, onclick: () => remove(filter) }, '×'))))
    if (filters.length === 0) chips.append(el('li', { class: 'hint' }, 'Nothing yet. Subscribe to hello/#, then publish to hello/world.'))
  }

  update([])
  return { update }
}

async function report (form, result, work) {
  const buttons = form.querySelectorAll('button[type=submit]')
  // Not `disabled`: that would take the focus away from the keyboard.
  if (form.ariaBusy === 'true') return
  form.ariaBusy = 'true'
  for (const button of buttons) button.ariaDisabled = 'true'
  try {
    const text = await withPatience(work(), () => {
      result.className = 'result'
      setText(result, 'Waiting for the broker.')
    })
    result.className = 'result good'
    setText(result, text)
  } catch (error) {
    result.className = 'result bad'
    // A message of several lines points at a place with a caret, so it needs its blanks.
    const tag = error.message.includes('\n') ? 'pre' : 'span'
    result.replaceChildren(el('code', {}, error.code ?? 'ERROR'), ' ', el(tag, {}, error.message))
  } finally {
    form.ariaBusy = 'false'
    for (const button of buttons) button.ariaDisabled = 'false'
  }
}
