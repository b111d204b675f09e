/** A fenced block of a Markdown file. */
export interface CodeBlock {
  language: string
  code: string
  /** Of the first line of the code, counted from 1. */
  line: number
  /** `<!-- run: none -->` stands before it: TypeScript is compiled and not run, anything else is not looked at. */
  runs: boolean
  /** `<!-- continues -->` stands before it: it belongs to the module of the block before. */
  continues: boolean
  /** `<!-- file: task.ts -->` stands before it: the name under which other blocks of the document import it. */
  file: string | undefined
}

/** A module made of one block and those that continue it. */
export interface CodeModule {
  /** Relative to the document's folder. */
  name: string
  code: string
  line: number
  runs: boolean
}

/** All fenced blocks of a document, in order. An unclosed fence ends with the document, as in CommonMark. */
export function extractBlocks (markdown: string): CodeBlock[] {
  const blocks: CodeBlock[] = []
  const lines = markdown.split('\n')
  let directives: string[] = []
  for (let index = 0; index < lines.length; index++) {
    const line = lines[index] as string
    const opening = /^( {0,3})(`{3,}|~{3,})\s*([^\s`]*)/.exec(line)
    if (opening === null) {
      const directive = /^\s*<!--\s*(.*?)\s*-->\s*$/.exec(line)
      // Directives stand right before the fence; any other line ends them.
      if (directive !== null) directives.push(directive[1] as string)
      else if (line.trim() !== '') directives = []
      continue
    }
    const [, indent = '', fence = '', language = ''] = opening
    const closing = new RegExp(`^ {0,3}\\${fence[0] as string}{${fence.length},}\\s*$`)
    const start = index + 1
    let end = start
    while (end < lines.length && !closing.test(lines[end] as string)) end++
    blocks.push({
      language,
      code: lines.slice(start, end).map(text => text.startsWith(indent) ? text.slice(indent.length) : text.trimStart()).join('\n'),
      line: start + 1,
      runs: !directives.includes('run: none'),
      continues: directives.includes('continues'),
      file: directives.find(it => it.startsWith('file: '))?.slice('file: '.length)
    })
    directives = []
    index = end
  }
  return blocks
}

/** The modules of a document's `ts` blocks. Each line of code keeps its number, so that an error names the document's. */
export function toModules (blocks: readonly CodeBlock[]): CodeModule[] {
  const modules: CodeModule[] = []
  for (const block of blocks) {
    if (block.language !== 'ts') continue
    const current = modules.at(-1)
    if (block.continues) {
      if (current === undefined) throw new Error(`line ${block.line}: there is no block that this one could continue`)
      current.code = padTo(current.code, block.line) + block.code
      current.runs &&= block.runs
    } else {
      modules.push({
        name: block.file ?? `line-${block.line}.ts`,
        code: padTo('', block.line) + block.code,
        line: block.line,
        runs: block.runs
      })
    }
  }
  return modules
}

function padTo (code: string, line: number): string {
  return code + '\n'.repeat(line - code.split('\n').length)
}
