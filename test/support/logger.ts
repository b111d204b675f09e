import type { FastifyBaseLogger } from 'fastify'

/** A line as it was logged. */
export interface LogLine {
  level: string
  /** The merged object and the text, as JSON. */
  line: string
}

/** A logger that keeps its lines; children share them. */
export interface RecordingLogger extends FastifyBaseLogger {
  readonly lines: LogLine[]
  /** All lines, one below the other. */
  text (): string
}

export function recordingLogger (): RecordingLogger {
  const lines: LogLine[] = []
  const at = (level: string) => (...args: unknown[]): void => {
    lines.push({ level, line: JSON.stringify(args, withErrors) })
  }
  const logger = {
    level: 'trace',
    lines,
    text: () => lines.map(({ level, line }) => `${level} ${line}`).join('\n'),
    fatal: at('fatal'),
    error: at('error'),
    warn: at('warn'),
    info: at('info'),
    debug: at('debug'),
    trace: at('trace'),
    silent: () => {},
    child: () => logger
  }
  return logger as unknown as RecordingLogger
}

/** Errors have no enumerable properties of their own, and a secret in one must be found. */
function withErrors (_key: string, value: unknown): unknown {
  if (!(value instanceof Error)) return typeof value === 'bigint' ? String(value) : value
  return { ...value, message: value.message, stack: value.stack, cause: value.cause }
}
