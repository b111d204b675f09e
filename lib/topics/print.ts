import type { Pattern } from './pattern.ts'

/** What is printed of an entry. */
interface Printable<T> {
  readonly pattern: Pattern
  readonly value: T
}

interface Branch {
  readonly children: Map<string, Branch>
  readonly values: string[]
  isPattern: boolean
}

/** The patterns as a tree, in the manner of `fastify.printRoutes()`; levels where nothing parts share a line. */
export function printTree<T> (entries: Iterable<Printable<T>>, describe: (value: T) => string = () => ''): string {
  const root = createBranch()
  for (const { pattern, value } of entries) {
    let branch = root
    for (const { text } of pattern.levels) {
      const next = branch.children.get(text) ?? createBranch()
      branch.children.set(text, next)
      branch = next
    }
    branch.isPattern = true
    const description = describe(value)
    if (description !== '') branch.values.push(description)
  }
  return root.children.size === 0 ? '(no topics)\n' : printChildren(root, '', '')
}

/** What stands on the way to a line, put together with it, is its pattern: `lead` is the slash that the line above leaves off. */
function printChildren ({ children }: Branch, indent: string, lead: string): string {
  let text = ''
  let left = children.size
  for (const [name, branch] of children) {
    const isLast = --left === 0
    const [label, end] = merge(name, branch)
    const values = end.values.length > 0 ? ` (${end.values.join(', ')})` : ''
    const slash = end.children.size > 0 && !end.isPattern ? '/' : ''
    text += `${indent}${isLast ? '└── ' : '├── '}${lead}${label}${slash}${values}\n`
    text += printChildren(end, indent + (isLast ? '    ' : '│   '), end.isPattern ? '/' : '')
  }
  return text
}

/** Follows a branch as far as it is the only one. */
function merge (name: string, branch: Branch): [label: string, end: Branch] {
  let label = name
  let end = branch
  while (!end.isPattern && end.children.size === 1) {
    const [next] = end.children
    label += `/${next![0]}`
    end = next![1]
  }
  return [label, end]
}

function createBranch (): Branch {
  return { children: new Map(), values: [], isPattern: false }
}
