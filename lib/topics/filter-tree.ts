class Node<T> {
  readonly children = new Map<string, Node<T>>()
  readonly values: T[] = []
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
