const reasons = { 0: 'Success', 16: 'No matching subscribers' }

/** Asks the server; throws an Error with the server's `code` and text. */
export async function send (method, path, body) {
  let response
  try {
    response = await window.fetch(path, {
      method,
      ...(body === undefined ? {} : { headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) })
    })
  } catch {
    throw Object.assign(new Error('The server cannot be reached.'), { code: 'OFFLINE' })
  }
  const answer = await response.json().catch(() => ({}))
  if (!response.ok) {
    throw Object.assign(new Error(answer.message ?? `HTTP ${response.status}`), { code: answer.code ?? 'ERROR' })
  }
  return answer
}

/** Runs `show` when work takes long enough for people to wonder: a broker that is away, for one. */
export async function withPatience (work, show) {
  const timer = setTimeout(() => { show() }, 400)
  try {
    return await work
  } finally {
    clearTimeout(timer)
  }
}

/** A reason code as people read it: `{ code: '0x10', text: '0x10 No matching subscribers' }`. */
export function describeReason (reasonCode) {
  const code = `0x${reasonCode.toString(16).padStart(2, '0')}`
  const name = reasons[reasonCode]
  return { code, text: name === undefined ? code : `${code} ${name}` }
}
