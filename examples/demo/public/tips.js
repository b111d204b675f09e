import { el } from './dom.js'

/** The lines to try next, each with a button that copies it. */
export function showTips (root, tips) {
  root.replaceChildren(...tips.map(({ text, line }) => {
    const button = el('button', { type: 'button', class: 'button quiet copy', 'aria-label': `Copy: ${line}` }, 'Copy')
    const code = el('code', {}, line)
    button.addEventListener('click', async () => {
      const copied = await copy(line, code)
      button.textContent = copied ? 'Copied' : 'Selected'
      setTimeout(() => { button.textContent = 'Copy' }, 1500)
    })
    return el('li', { class: 'card tip' }, el('p', {}, text), el('div', { class: 'line' }, code, button))
  }))
}

async function copy (line, node) {
  try {
    await navigator.clipboard.writeText(line)
    return true
  } catch {
    // No clipboard outside https and localhost: select the line, so that it can be copied by hand.
    window.getSelection().selectAllChildren(node)
    return false
  }
}
