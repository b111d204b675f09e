export function byId (id) {
  return document.getElementById(id)
}

/** Builds an element. Children that are text become text nodes: nothing is ever parsed as HTML. */
export function el (tag, attributes = {}, ...children) {
  const node = document.createElement(tag)
  for (const [name, value] of Object.entries(attributes)) {
    if (value === undefined || value === false) continue
    if (name.startsWith('on')) node.addEventListener(name.slice(2), value)
    else node.setAttribute(name, value === true ? '' : value)
  }
  node.append(...children)
  return node
}

/** Writes text only when it changed, so that nothing is laid out or announced for nothing. */
export function setText (node, text) {
  if (node.textContent !== text) node.textContent = text
}

export function formatBytes (bytes) {
  if (bytes < 1000) return `${bytes} B`
  if (bytes < 1_000_000) return `${(bytes / 1000).toFixed(1)} kB`
  return `${(bytes / 1_000_000).toFixed(1)} MB`
}

const grouped = new Intl.NumberFormat('en')

export function formatCount (count) {
  return grouped.format(count)
}
