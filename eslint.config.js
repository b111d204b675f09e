import neostandard, { resolveIgnoresFromGitignore } from 'neostandard'

/*
 * Besides the convention (neostandard) this file holds the walls between the rooms of lib/: who may import whom.
 * docs/internals.md says why each stands where it does.
 */

const WORKER_WIRE = ['copy', 'encode', 'properties', 'payload', 'topic-cache', 'packet', 'publish-options', 'rewrite', 'body']

/** A heavy package, and the only files that may load it. A type costs nothing at run time, so types are free. */
const HEAVY = ['fastify', 'fastify-plugin', 'mqtt', 'typebox', 'typebox/*', 'aedes', 'ws', 'piscina', 'tap']

/**
 * @param {string[]} files
 * @param {object} may
 * @param {string[]} [may.rooms] folders of lib/ that may be imported, each with all its files
 * @param {string[]} [may.files] single files that may be imported, relative to lib/
 * @param {string[]} [may.types] folders of lib/ whose types may be imported: parts of them are handed in
 * @param {string[]} [may.packages] packages out of HEAVY
 * @param {string} [may.up] how the files reach lib/
 */
function room (files, { rooms = [], files: single = [], types = [], packages = [], up = '../' }) {
  const base = up.replaceAll('.', '\\.')
  const open = [
    ...rooms.map(name => `${name}/`),
    ...single.map(name => `${name.replaceAll('.', '\\.')}$`),
    ...types.map(name => `${name}/`),
    'types/',
    '(fifo|suspects|tracing)\\.ts$' // They know nobody.
  ]
  return {
    files,
    rules: {
      '@typescript-eslint/no-restricted-imports': ['error', {
        patterns: [
          {
            group: HEAVY.filter(name => !packages.includes(name) && !packages.includes(name.replace('/*', ''))),
            allowTypeImports: true,
            message: 'Only its own room loads this package; see eslint.config.js.'
          },
          {
            regex: `^${base}(${['types/', ...types.map(name => `${name}/`)].join('|')})`,
            allowTypeImports: true,
            message: 'Only its types may be known here: import type.'
          },
          {
            regex: up === './' ? `^\\./(?!${open.join('|')})` : `^${base}(?!${open.join('|')})`,
            message: 'This room may not know that one; see eslint.config.js.'
          }
        ]
      }]
    }
  }
}

const walls = [
  { // What is not named below: plugin.ts and the rooms that it alone puts together.
    files: ['lib/**/*.ts'],
    rules: {
      '@typescript-eslint/no-restricted-imports': ['error', {
        patterns: [{ group: HEAVY.filter(name => name !== 'fastify-plugin'), allowTypeImports: true }]
      }]
    }
  },
  room(['lib/errors.ts'], { files: ['topics/errors.ts'], up: './' }),
  room(['lib/ws.ts'], { up: './' }),
  room(['lib/types/**/*.ts'], { types: ['topics', 'wire'] }),
  room(['lib/tracing.ts'], { types: ['wire'], up: './' }),
  { // Wiring, as plugin.ts is, and the one file that may load typebox: that takes 165 ms.
    files: ['lib/options/**/*.ts'],
    rules: {
      '@typescript-eslint/no-restricted-imports': ['error', {
        patterns: [{ group: HEAVY.filter(name => !name.startsWith('typebox')), allowTypeImports: true }]
      }]
    }
  },
  room(['lib/routing/**/*.ts'], {
    rooms: ['topics', 'inbox', 'outbox', 'wire'], files: ['errors.ts'], types: ['connection']
  }),
  room(['lib/bridge/**/*.ts'], { rooms: ['outbox', 'wire', 'topics'], files: ['errors.ts'] }),
  room(['lib/bridge/protocol.ts'], {
    rooms: ['topics'], files: ['errors.ts', ...WORKER_WIRE.map(name => `wire/${name}.ts`)]
  }),
  room(['lib/inbox/**/*.ts', 'lib/outbox/**/*.ts'], { rooms: ['wire'], files: ['errors.ts'] }),
  room(['lib/connection/**/*.ts'], {
    rooms: ['wire', 'topics'], files: ['errors.ts', 'ws.ts'], packages: ['mqtt']
  }),
  room(['lib/request/**/*.ts'], {
    rooms: ['routing', 'topics', 'inbox', 'outbox', 'wire'], files: ['errors.ts']
  }),
  room(['lib/dynsec/**/*.ts'], { rooms: ['topics', 'wire'], files: ['errors.ts'] }),
  room(['lib/embedded/**/*.ts'], { files: ['errors.ts', 'ws.ts'], packages: ['aedes'] }),
  // A frame's topic is checked where it is encoded, by the same function that the builder of topics uses.
  room(['lib/wire/**/*.ts'], { files: ['errors.ts', 'topics/topic.ts', 'topics/text.ts'] }),
  { // Runs in browsers and workers too, so it has nothing that these lack.
    files: ['lib/topics/**/*.ts'],
    rules: {
      '@typescript-eslint/no-restricted-imports': ['error', {
        patterns: [{ regex: '^(?!\\./)', message: 'topics/ imports nothing outside itself.' }]
      }]
    }
  },
  { // A worker starts in 27 ms; with mqtt, typebox or fastify in its graph it takes 447 ms.
    files: ['workers/**/*.ts'],
    rules: {
      '@typescript-eslint/no-restricted-imports': ['error', {
        patterns: [
          { group: HEAVY, allowTypeImports: true, message: 'Too heavy for a worker.' },
          {
            regex: `^\\.\\./lib/(?!topics/|bridge/protocol\\.ts$|errors\\.ts$|types/|wire/(${WORKER_WIRE.join('|')})\\.ts$)`,
            message: 'Too heavy for a worker; see eslint.config.js.'
          },
          { regex: '^\\.\\./lib/types/', allowTypeImports: true, message: 'types/ holds types only: import type.' }
        ]
      }]
    }
  }
]

export default [
  ...neostandard({ ts: true, ignores: [...resolveIgnoresFromGitignore(), '.tap/**'] }),
  {
    files: ['**/*.ts'],
    rules: {
      '@typescript-eslint/consistent-type-imports': ['error', { fixStyle: 'inline-type-imports' }],
      // `import { type X }` alone still loads the module under verbatimModuleSyntax; `import type` does not.
      '@typescript-eslint/no-import-type-side-effects': 'error',
      // A const object and the type of its values share a name here, in place of an enum. tsc sees real doubles.
      '@typescript-eslint/no-redeclare': 'off',
      // How a promise is marked that nobody waits for on purpose (oxlint's no-floating-promises).
      'no-void': ['error', { allowAsStatement: true }]
    }
  },
  {
    files: ['lib/**/*.ts', 'workers/**/*.ts'],
    rules: {
      '@typescript-eslint/explicit-module-boundary-types': 'error',
      'no-console': 'error'
    }
  },
  {
    files: ['lib/**/*.ts', 'workers/**/*.ts'],
    ignores: ['lib/index.ts', 'lib/plugin.ts'],
    rules: {
      'no-restricted-exports': ['error', {
        restrictDefaultExports: { direct: true, named: true, defaultFrom: true, namedFrom: true, namespaceFrom: true }
      }]
    }
  },
  ...walls
]
