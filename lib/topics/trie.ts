import type { Codec } from './converters.ts'
import type { Level } from './pattern.ts'

/** What a trie keeps at the end of a pattern. */
export interface Leaf {
  /**
   * The topic has come to the end of the pattern. `captured` holds what stood for its placeholders and `+`, in order,
   * `rest` what stood for `#`; it is undefined when `#` matched the level above it. `captured` changes afterwards.
   */
  reached (captured: readonly unknown[], rest: string | undefined, out: unknown[]): void
}

/** Where patterns part. A field is null until something needs it: most nodes have one way on. */
export class TrieNode<L extends Leaf> {
  literals: Map<string, TrieNode<L>> | null = null
  plus: TrieNode<L> | null = null
  typed: Array<Branch<L>> | null = null
  /** Patterns that end here, and those that end here with `#` or `<path:...>`. */
  ends: L[] | null = null
  hashes: L[] | null = null
  paths: L[] | null = null

  get isEmpty (): boolean {
    return this.literals === null && this.plus === null && this.typed === null &&
      this.ends === null && this.hashes === null && this.paths === null
  }
}

/** The way of all routes whose placeholders convert alike. */
interface Branch<L extends Leaf> {
  readonly codec: Codec
  readonly node: TrieNode<L>
}

const DOLLAR = 36

export function insert<L extends Leaf> (root: TrieNode<L>, levels: readonly Level[], leaf: L): void {
  let node = root
  for (const level of levels) {
    if (level.kind === 'hash') {
      (node.hashes ??= []).push(leaf)
      return
    }
    if (level.kind === 'path') {
      (node.paths ??= []).push(leaf)
      return
    }
    node = descend(node, level)
  }
  (node.ends ??= []).push(leaf)
}

/** Takes the first leaf away that `isIt` says yes to, with all nodes that nothing needs any more. */
export function remove<L extends Leaf> (root: TrieNode<L>, levels: readonly Level[], isIt: (leaf: L) => boolean): L | undefined {
  const way = [root]
  for (const level of levels) {
    if (level.kind === 'hash' || level.kind === 'path') break
    const next = child(way.at(-1)!, level)
    if (next === undefined) return undefined
    way.push(next)
  }
  const last = levels.at(-1)!.kind
  const place = last === 'hash' ? 'hashes' : last === 'path' ? 'paths' : 'ends'
  const node = way.at(-1)!
  const leaf = node[place]?.find(isIt)
  if (leaf === undefined) return undefined
  node[place] = without(node[place]!, leaf)
  for (let i = way.length - 1; i > 0 && way[i]!.isEmpty; i--) detach(way[i - 1]!, levels[i - 1]!, way[i]!)
  return leaf
}

/**
 * Tells every leaf that the topic reaches. It goes as deep as the patterns do, at most 128 levels, and sees each node
 * at most once, so a topic costs no more than its length times the number of nodes.
 */
export function walk<L extends Leaf> (node: TrieNode<L>, topic: string, pos: number, captured: unknown[], out: unknown[]): void {
  // MQTT 5 section 4.7.2: in the first level no wildcard matches a topic that begins with `$`.
  const wild = pos > 0 || topic.charCodeAt(0) !== DOLLAR
  const { literals, plus, typed } = node
  if (pos > topic.length) {
    if (node.hashes !== null) tell(node.hashes, captured, undefined, out)
    if (node.ends !== null) tell(node.ends, captured, undefined, out)
    return
  }
  if (wild && node.hashes !== null) tell(node.hashes, captured, topic.slice(pos), out)
  if (wild && node.paths !== null && pos < topic.length) {
    captured.push(topic.slice(pos))
    tell(node.paths, captured, undefined, out)
    captured.pop()
  }
  if (literals === null && plus === null && typed === null) return

  const slash = topic.indexOf('/', pos)
  const end = slash === -1 ? topic.length : slash
  const level = topic.slice(pos, end)
  if (literals !== null) {
    const next = literals.get(level)
    if (next !== undefined) walk(next, topic, end + 1, captured, out)
  }
  if (!wild) return
  if (plus !== null) {
    captured.push(level)
    walk(plus, topic, end + 1, captured, out)
    captured.pop()
  }
  if (typed !== null) {
    for (let i = 0; i < typed.length; i++) {
      const branch = typed[i]!
      const value = branch.codec.parse(level)
      if (value === undefined) continue
      captured.push(value)
      walk(branch.node, topic, end + 1, captured, out)
      captured.pop()
    }
  }
}

function tell (leaves: readonly Leaf[], captured: readonly unknown[], rest: string | undefined, out: unknown[]): void {
  for (let i = 0; i < leaves.length; i++) leaves[i]!.reached(captured, rest, out)
}

function descend<L extends Leaf> (node: TrieNode<L>, level: Level): TrieNode<L> {
  const known = child(node, level)
  if (known !== undefined) return known
  const next = new TrieNode<L>()
  if (level.kind === 'plus') node.plus = next
  else if (level.kind === 'literal') (node.literals ??= new Map()).set(level.text, next)
  else if (level.kind === 'placeholder') (node.typed ??= []).push({ codec: level.codec, node: next })
  return next
}

/** The node one level on; `#` and `<path:...>` lead nowhere, and are not asked about. */
function child<L extends Leaf> (node: TrieNode<L>, level: Level): TrieNode<L> | undefined {
  if (level.kind === 'literal') return node.literals?.get(level.text)
  if ('codec' in level) return node.typed?.find(({ codec }) => same(codec, level.codec))?.node
  return node.plus ?? undefined
}

function detach<L extends Leaf> (parent: TrieNode<L>, level: Level, node: TrieNode<L>): void {
  if (level.kind === 'plus') parent.plus = null
  else if (level.kind === 'literal') {
    parent.literals!.delete(level.text)
    if (parent.literals!.size === 0) parent.literals = null
  } else {
    parent.typed = without(parent.typed!, parent.typed!.find(branch => branch.node === node)!)
  }
}

function same (a: Codec, b: Codec): boolean {
  return a.id === b.id && a.source === b.source
}

/** The list without one item; null for an empty one. */
function without<I> (list: readonly I[], item: I): I[] | null {
  return list.length === 1 ? null : list.filter(other => other !== item)
}
