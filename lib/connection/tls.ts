import { readFileSync } from 'node:fs'
import type { ConnectionOptions } from 'node:tls'

/** The `tls` option. */
export interface TlsOptions {
  /** PEM text, bytes, or a file's path; several in an array. */
  ca?: string | Buffer | Array<string | Buffer>
  cert?: string | Buffer
  key?: string | Buffer
  /** DER bytes or a file's path. */
  pfx?: string | Buffer
  passphrase?: string
  servername?: string
  ALPNProtocols?: string[]
  minVersion?: 'TLSv1.2' | 'TLSv1.3'
  maxVersion?: 'TLSv1.2' | 'TLSv1.3'
  ciphers?: string
  /** Turning it off means that anybody can be the broker; logs a warning. Default true. */
  rejectUnauthorized?: boolean
}

/** Node's TLS options; files are read here, so each connection sees the newest ones. */
export function readTlsOptions (options: TlsOptions): ConnectionOptions {
  const { ca, cert, key, pfx, ...rest } = options
  return {
    ...rest,
    ...(ca !== undefined && { ca: Array.isArray(ca) ? ca.map(content) : content(ca) }),
    ...(cert !== undefined && { cert: content(cert) }),
    ...(key !== undefined && { key: content(key) }),
    ...(pfx !== undefined && { pfx: content(pfx) })
  }
}

/** PEM begins with dashes; any other text is a path. */
function content (value: string | Buffer): string | Buffer {
  if (typeof value !== 'string' || value.includes('-----BEGIN')) return value
  return readFileSync(value)
}
