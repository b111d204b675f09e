import { createServer, type AddressInfo } from 'node:net'
import { performance } from 'node:perf_hooks'
import type { Command, Counts, Listening } from './broker/protocol.ts'
import { Session } from './broker/session.ts'

/*
 * A broker that parses, acknowledges and discards, or sends what it made up beforehand: so little work that the client is
 * what is measured. It runs in a process of its own (see load/null-broker.ts) and ends with the one that started it.
 */

const sessions: Session[] = []
const server = createServer(socket => { sessions.push(new Session(socket)) })

server.listen(0, '127.0.0.1', () => {
  const listening: Listening = { port: (server.address() as AddressInfo).port }
  process.send!(listening)
})
process.on('message', command => { void execute(command as Command) })
process.on('disconnect', () => { process.exit() })

async function execute (command: Command): Promise<void> {
  if (command.do === 'flood') for (const session of sessions) session.flood(command.options)
  if (command.do === 'stop') await Promise.all(sessions.map(session => session.stop()))
  process.send!(counts())
}

function counts (): Counts {
  const sum = (what: (session: Session) => number): number => sessions.reduce((total, session) => total + what(session), 0)
  const { active, idle } = performance.eventLoopUtilization()
  return {
    published: sum(it => it.published),
    bytes: sum(it => it.bytes),
    sent: sum(it => it.sent),
    acknowledged: sum(it => it.acknowledged),
    active,
    idle
  }
}
