import { readdir, readFile } from 'node:fs/promises'
import { extname } from 'node:path'
import type { FastifyInstance } from 'fastify'

// The compiled file is .build/examples/demo/page.js, the page itself is not compiled.
const root = new URL('../../../examples/demo/public/', import.meta.url)

const types: Record<string, string> = {
  '.html': 'text/html; charset=utf-8',
  '.css': 'text/css; charset=utf-8',
  '.js': 'text/javascript; charset=utf-8',
  '.svg': 'image/svg+xml'
}

const headers = {
  'cache-control': 'no-cache',
  'content-security-policy': "default-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'self'",
  'x-content-type-options': 'nosniff',
  'referrer-policy': 'no-referrer'
}

/** Serves the page: one route for each file that is there, so that no path from outside reaches the disk. */
export async function addPage (app: FastifyInstance): Promise<void> {
  for (const name of await readdir(root)) {
    const type = types[extname(name)]
    if (type === undefined) continue
    app.get(name === 'index.html' ? '/' : `/${name}`, async (_request, reply) => {
      return reply.headers(headers).type(type).send(await readFile(new URL(name, root)))
    })
  }
}
