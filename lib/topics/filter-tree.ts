class Node<T> {
  readonly children = new Map<string, Node<T>>()
  readonly values: T[] = []

  get isEmpty (): boolean {
    return this.children.size === 0 && this.values.length === 0
  }
}

/** Many filters by their levels, so that those which have to do with one are found without asking all of them. */
export class FilterTree<T> {
  readonly #root = new Node<T>()

  add (filter: string, value: T): void {
    let node = this.#root
    for (const level of filter.split('/')) {
      let child = node.children.get(level)
      if (child === undefined) node.children.set(level, child = new Node())
      node = child
    }
    node.values.push(value)
  }

  /** Takes a value away again, and what is not needed without it. */
  remove (filter: string, value: T): void {
    const way = [this.#root]
    const levels = filter.split('/')
    for (const level of levels) {
      const child = way.at(-1)!.children.get(level)
      if (child === undefined) return
      way.push(child)
    }
    const { values } = way.at(-1)!
    const at = values.indexOf(value)
    if (at === -1) return
    values.splice(at, 1)
    for (let i = way.length - 1; i > 0 && way[i]!.isEmpty; i--) way[i - 1]!.children.delete(levels[i - 1]!)
  }

  /** The values of all filters that share a topic with this one, itself included if it is there (MQTT 5 section 4.7). */
  meeting (filter: string): Iterable<T> {
    return meet(this.#root, filter.split('/'), 0)
  }
}

function * meet<T> (node: Node<T>, levels: readonly string[], at: number): Iterable<T> {
  const level = levels[at]
  if (level === '#') {
    yield * below(node)
    return
  }
  // `#` matches the level above it too, so it is met at the end as well as on the way.
  const rest = node.children.get('#')
  if (rest !== undefined) yield * rest.values
  if (level === undefined) {
    yield * node.values
    return
  }
  for (const [name, child] of level === '+' ? node.children : alike(node, level)) {
    if (name !== '#') yield * meet(child, levels, at + 1)
  }
}

function * alike<T> ({ children }: Node<T>, level: string): Iterable<[string, Node<T>]> {
  for (const name of [level, '+']) {
    const child = children.get(name)
    if (child !== undefined) yield [name, child]
  }
}

function * below<T> (node: Node<T>): Iterable<T> {
  yield * node.values
  for (const child of node.children.values()) yield * below(child)
}
