import { execFileSync } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { temporaryFolder, type Owner } from './folder.ts'

/** A certificate and its private key: PEM files. */
export interface Certificate {
  cert: string
  key: string
}

/** What a TLS test needs. Every value is the name of a file. */
export interface Certificates {
  /** The authority that signed all of these but `otherCa` and `stranger`. */
  ca: string
  /** For localhost and 127.0.0.1. */
  server: Certificate
  /** For localhost, until yesterday. */
  expired: Certificate
  /** For another host. */
  wrongHost: Certificate
  /** A client's, of the name `device-1`. */
  client: Certificate
  /** A client's, until yesterday. */
  expiredClient: Certificate
  /** An authority that nobody trusts. */
  otherCa: string
  /** A client's, signed by `otherCa`. */
  stranger: Certificate
}

/** Makes them with openssl in a folder that is gone when the test ends. */
export function createCertificates (t: Owner): Certificates {
  const folder = temporaryFolder(t)
  const ca = authority(folder, 'ca')
  const otherCa = authority(folder, 'other-ca')
  const here = 'DNS:localhost,IP:127.0.0.1'
  return {
    ca: ca.cert,
    server: signed(folder, 'server', ca, { names: here }),
    expired: signed(folder, 'expired', ca, { names: here, days: -1 }),
    wrongHost: signed(folder, 'wrong-host', ca, { names: 'DNS:broker.invalid' }),
    client: signed(folder, 'device-1', ca, {}),
    expiredClient: signed(folder, 'device-2', ca, { days: -1 }),
    otherCa: otherCa.cert,
    stranger: signed(folder, 'device-3', otherCa, {})
  }
}

function authority (folder: string, name: string): Certificate {
  const files = filesOf(folder, name)
  openssl([
    'req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-days', '2',
    '-subj', `/CN=multimqtt test ${name}`, '-keyout', files.key, '-out', files.cert
  ])
  return files
}

function signed (
  folder: string, name: string, by: Certificate, { names, days = 2 }: { names?: string, days?: number }
): Certificate {
  const files = filesOf(folder, name)
  const request = join(folder, `${name}.csr`)
  const extensions = join(folder, `${name}.ext`)
  writeFileSync(extensions, names === undefined ? 'extendedKeyUsage=clientAuth\n' : `subjectAltName=${names}\n`)
  openssl([
    'req', '-new', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes',
    '-subj', `/CN=${name}`, '-keyout', files.key, '-out', request
  ])
  openssl([
    'x509', '-req', '-in', request, '-CA', by.cert, '-CAkey', by.key, '-CAcreateserial',
    '-days', String(days), '-extfile', extensions, '-out', files.cert
  ])
  return files
}

function filesOf (folder: string, name: string): Certificate {
  return { cert: join(folder, `${name}.crt`), key: join(folder, `${name}.key`) }
}

function openssl (args: string[]): void {
  execFileSync('openssl', args, { stdio: 'pipe' })
}
