import js from '@eslint/js';
import { defineConfig } from 'eslint/config';
import { createTypeScriptImportResolver } from 'eslint-import-resolver-typescript';
import { importX } from 'eslint-plugin-import-x';
import tseslint from 'typescript-eslint';

/**
 * The house's floors, top to bottom. A file may import from its own floor and from those below it, never
 * from one above: docs/architecture.md draws this.
 */
const floors = [
  ['index.ts'],
  ['cli'],
  ['jobs'],
  ['session', 'snapback', 'view'],
  ['target'],
  ['block-reader.ts', 'changes', 'stream', 'transport', 'lvm'],
  ['host', 'device', 'codec'],
  ['differing-runs.ts', 'extent.ts', 'errors.ts', 'byte-channel.ts'],
];

const floorZones = floors.flatMap((rooms, floor) => {
  const above = floors.slice(0, floor).flat();
  if (above.length === 0) return [];
  return rooms.map((room) => ({
    target: `./src/${room}`,
    from: above.map((upper) => `./src/${upper}`),
    message: 'no arrow runs back up: see docs/architecture.md',
  }));
});

/** Neighbours on one floor that must not know each other. */
const wallZones = [
  ['session', ['snapback']],
  ['snapback', ['session', 'transport', 'lvm']],
  ['stream', ['device', 'changes', 'lvm', 'transport']],
  ['changes', ['lvm', 'transport', 'stream']],
  ['transport', ['device', 'changes', 'lvm', 'stream']],
].map(([room, others]) => ({
  target: `./src/${room}`,
  from: others.map((other) => `./src/${other}`),
  message: 'these rooms do not know each other: see docs/architecture.md',
}));

export default defineConfig(
  { ignores: ['dist', 'coverage', '.build'] },
  js.configs.recommended,
  {
    files: ['**/*.ts'],
    extends: [tseslint.configs.strictTypeChecked, tseslint.configs.stylisticTypeChecked],
    languageOptions: { parserOptions: { projectService: true, tsconfigRootDir: import.meta.dirname } },
    plugins: { 'import-x': importX },
    settings: {
      'import-x/resolver-next': [createTypeScriptImportResolver()],
      'import-x/parsers': { '@typescript-eslint/parser': ['.ts'] },
    },
    rules: {
      'import-x/no-cycle': 'error',
      'import-x/no-restricted-paths': ['error', { zones: [...floorZones, ...wallZones] }],
      '@typescript-eslint/restrict-template-expressions': ['error', { allowNumber: true }],
      'max-lines': ['error', { max: 300, skipBlankLines: true, skipComments: true }],
    },
  },
  {
    // Only the command line touches the process and the console; only ssh/ knows ssh2.
    files: ['src/**/*.ts'],
    ignores: ['src/cli/**'],
    rules: {
      'no-restricted-globals': ['error', 'console'],
      'no-restricted-properties': [
        'error',
        { object: 'process', property: 'exit' },
        { object: 'process', property: 'env' },
        { object: 'process', property: 'stdout' },
        { object: 'process', property: 'stdin' },
        { object: 'process', property: 'stderr' },
      ],
    },
  },
  {
    files: ['src/**/*.ts'],
    ignores: ['src/transport/ssh/**'],
    rules: { 'no-restricted-imports': ['error', { paths: ['ssh2'] }] },
  },
  {
    files: ['src/**/*.ts'],
    ignores: ['src/host/**'],
    rules: {
      '@typescript-eslint/no-restricted-imports': [
        'error',
        { paths: [{ name: 'node:child_process', message: 'src/host is the only spawner of commands' }] },
      ],
    },
  },
  {
    files: ['**/*.js'],
    languageOptions: {
      globals: {
        process: 'readonly',
        console: 'readonly',
        Buffer: 'readonly',
        AbortController: 'readonly',
        performance: 'readonly',
        setTimeout: 'readonly',
        URL: 'readonly',
      },
    },
  },
);
