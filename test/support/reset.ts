import type { Socket } from 'node:net'

/**
 * Ends a connection as a crash does: nothing of what was written is waited for. Of a socket that is ending already Node 20
 * makes a process that never exits (resetAndDestroy gives EINVAL, and its handle stays), so that one is only destroyed.
 */
export function resetSocket (socket: Socket): void {
  if (socket.writableEnded) socket.destroy()
  else socket.resetAndDestroy()
}
