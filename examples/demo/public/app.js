import { createCharts } from './charts.js'
import { createDevices } from './devices.js'
import { byId, setText } from './dom.js'
import { createPublish, createSubscribe } from './forms.js'
import { createMessages } from './messages.js'
import { createTiles } from './tiles.js'
import { showTips } from './tips.js'

const SILENT = 4_000

const states = {
  idle: 'Not connected',
  connecting: 'Connecting',
  connected: 'Connected',
  reconnecting: 'Reconnecting',
  refused: 'Refused',
  closing: 'Closing',
  closed: 'Closed'
}

let clockOffset = 0
let broker = { label: '', embedded: false }
let tips = ''
let heardAt = Date.now()

const serverNow = () => Date.now() + clockOffset
const charts = createCharts(byId('charts'), serverNow)
const devices = createDevices(byId('devices'), charts.latest)
const tiles = createTiles(byId('tiles'))
const subscriptions = createSubscribe(byId('subscribe'), byId('chips'), byId('subscribe-result'))
const messages = createMessages({
  list: byId('list'),
  box: byId('list-box'),
  empty: byId('list-empty'),
  pause: byId('pause'),
  search: byId('search'),
  toggles: byId('kinds')
})
createPublish(byId('publish'), byId('publish-result'))
byId('theme').addEventListener('click', () => { window.toggleTheme() })

connect()

// Numbers twice a second: faster than that nobody reads.
setInterval(() => {
  charts.updateLegends()
  devices.updateReadings()
  if (Date.now() - heardAt > SILENT && !document.hidden) lost()
}, 500)

charts.start()

function connect () {
  const source = new window.EventSource('/events')
  source.addEventListener('hello', event => { greet(JSON.parse(event.data)) })
  source.addEventListener('status', event => { showStatus(JSON.parse(event.data)) })
  source.addEventListener('feed', event => { takeIn(JSON.parse(event.data)) })
  source.addEventListener('error', () => {
    lost()
    // After an answer that is no event stream, a proxy's 502 say, the browser itself would not try again.
    if (source.readyState === window.EventSource.CLOSED) setTimeout(connect, 2_000)
  })
}

function greet (hello) {
  clockOffset = hello.now - Date.now()
  broker = hello.broker
  tiles.reset()
  devices.configure(hello.target)
  charts.load(hello.history)
  messages.load(hello.messages)
  if (JSON.stringify(hello.tips) !== tips) {
    tips = JSON.stringify(hello.tips)
    showTips(byId('tips'), hello.tips)
  }
  heard()
}

function showStatus (status) {
  tiles.update(status)
  charts.setDevices(status.devices)
  devices.update(status.devices)
  subscriptions.update(status.filters)
  showConnection(status.mqtt)
  heard()
}

function takeIn ({ entries, skipped }) {
  const fresh = []
  for (const entry of entries) {
    if (entry.type === 'value') charts.addPoint(entry.id, entry.metric, entry.at, entry.value)
    else fresh.push(entry)
  }
  messages.add(fresh, skipped)
  heard()
}

function heard () {
  heardAt = Date.now()
  if (!byId('toast').hidden) byId('toast').hidden = true
}

function lost () {
  const toast = byId('toast')
  if (!toast.hidden) return
  setText(toast, 'The server does not answer. This page reconnects by itself.')
  toast.hidden = false
  setPill('lost', 'Page offline', 'trying again')
}

function showConnection ({ state, protocolVersion, lastError }) {
  const version = { 3: 'MQTT 3.1', 4: 'MQTT 3.1.1', 5: 'MQTT 5' }[protocolVersion]
  const detail = [version, broker.label, broker.embedded ? 'embedded' : undefined]
  if (state !== 'connected' && lastError !== undefined) detail.push(lastError.code)
  setPill(state, states[state] ?? state, detail.filter(Boolean).join(' · '))
}

function setPill (state, text, detail) {
  const pill = byId('connection')
  if (pill.dataset.state !== state) pill.dataset.state = state
  setText(byId('connection-state'), text)
  setText(byId('connection-detail'), detail)
}
