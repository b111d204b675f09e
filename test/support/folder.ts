import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Test } from 'tap'

/** What a helper needs of the test that it serves. */
export type Owner = Pick<Test, 'after'>

/** A fresh folder outside the repository, gone when the test ends. */
export function temporaryFolder (t: Owner): string {
  const folder = mkdtempSync(join(tmpdir(), 'multimqtt-'))
  t.after(() => { rmSync(folder, { recursive: true, force: true }) })
  return folder
}
