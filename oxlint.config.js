/**
 * Rooms of src/, top floor first. A room may import from its own floor and from those below it, never from
 * one above: docs/architecture.md draws this.
 */
export const FLOORS = [
  ['index'],
  ['cli'],
  ['jobs'],
  ['doctor'],
  ['reach', 'verify'],
  ['session'],
  ['view'],
  ['apply'],
  ['chain'],
  ['archive', 'send', 'sources'],
  ['journal'],
  ['targets'],
  ['usage'],
  ['engine', 'snapshots'],
  ['changes', 'lvm', 'transport', 'transport/ssh'],
  ['device', 'stream'],
  ['host', 'memory', 'codec'],
  ['bytes'],
  ['errors'],
];

/**
 * The doors of each room: the files that other rooms may import. Every other file is the room's own affair. A new door
 * needs its name here; test/house.test.ts finds those that nothing needs any more.
 */
export const DOORS = {
  jobs: 'apply archive combine copy inspect pull restore scan snapback transfer verify view',
  doctor: 'doctor examine-host examine-target finding',
  reach: 'client-wish far-side local-far-side retry',
  verify: 'answer-queries compare-bytes hash-exchange plan-repair',
  session:
    'ask-plan direct-stream line-silence messages pulled-sender puller receiver replies reply-writer sender',
  view: 'close-view list-views open-view roll-back store-plan store-writer view-making view-of-device view-record',
  apply:
    'check-target plans/plan-apply plans/plan-run receive-stream receive-summary recover unfinished-apply',
  chain:
    'archive-folder combination keep-rules plan-restore prove-base prove-state prune-intent pruning read-combination restore-stream states write-combination',
  archive:
    'archive archive-index extent-table layers new-archive old-blocks pack-archive proofs scan-archive stored-blocks',
  send: 'base-sample begin-stream choose-packer send-changes wanted-pieces',
  sources: 'open-source open-thin open-volume open-whole read-thin-delta watch-filling',
  journal: 'apply-note journal journal-bond journal-reader old-bytes written-blocks',
  targets:
    'allowed-targets apply-policy base-check container-image coverage create-target open-target record-format room room-budget room-needed state-record target-key',
  usage: 'device-identity device-tree foreign-writes guard holders openers write-stamp',
  engine:
    'applier block-reader compression-judge durable-length gathered-file outgoing-batches pack-blocks run-prover undo-log wants',
  snapshots:
    'fill-level live-watch mapped-snapshot metadata-snapshot snapshot store-volume temporary-snapshot thin-pool thin-tools thin-volume',
  changes: 'base-view change-set change-source cow-format exception-store thin-changes thin-delta two-stores',
  lvm: 'counted-writes create-volume device-mapper device-node loop-device lvm-settings lvs run-lvm volume-path',
  transport:
    'far-exit local-pipe pipe-source rate-limit remote-command rsh shell-words stderr-lines stream-channel target-spec transport ssh/index',
  device: 'block-device device-facts local-device',
  stream:
    'batches/batch batches/gather-batches batches/unpack-batches block block-writer extent-order frame-format frames/byte-reader frames/frame-reader frame-writer incoming-stream batches/read-batches mark-format proto3 proto4-blocks query-format stored/block-frames stored/frames-at stored/index-format stream-header unpack-blocks',
  host: 'durable-file file-locks interruption read-output run-lock spawner surroundings system-calls udev',
  memory: 'aligned-memory budgets',
  codec: 'codec load-codec work-ahead',
  bytes: 'amounts byte-channel chunk-set contents extent',
};

/** What transport, and the ssh in it, must not know. */
const TRANSPORT_WALL = ['device', 'changes', 'lvm', 'stream', 'memory'];

/** Rooms of one floor, or of a floor below, that must not know each other. */
const WALLS = {
  session: ['archive', 'chain'],
  archive: ['transport', 'lvm', 'snapshots'],
  chain: ['transport', 'lvm', 'snapshots'],
  engine: ['changes/exception-store', 'lvm', 'transport'],
  stream: ['device', 'memory'],
  changes: ['lvm', 'transport', 'stream'],
  transport: TRANSPORT_WALL,
  'transport/ssh': TRANSPORT_WALL,
};

/** What only the room of the stream knows: how the bytes of a frame lie. */
const LAYOUT_OF_FRAMES = {
  regex: String.raw`/stream/(frame|mark|stored/index)-format\.js$`,
  importNamePattern: '_LENGTH$|^(parse|encode)(FrameHeader|DataPrefix|End)$|[cC]hecksum|^codecOf$',
  message: 'Only src/stream knows the layout of frames: see the walls in docs/architecture.md.',
};

/** The rooms that live in one file, which has their name. */
const ROOM_FILES = ['index', 'errors'];

const filesOf = (room) => (ROOM_FILES.includes(room) ? `src/${room}.ts` : `src/${room}/**/*.ts`);

/** Other rooms are entered by their doors. A folder of a room that has walls of its own is in the room all the same. */
function doorsBeside(room) {
  const others = Object.entries(DOORS).filter(([other]) => room !== other && !room.startsWith(`${other}/`));
  return others.map(([other, doors]) => ({
    group: [`**/${other}/**`, ...doors.split(' ').map((door) => `!**/${other}/${door}.js`)],
    message: `Not a door of src/${other}: see DOORS in oxlint.config.js.`,
  }));
}

/** What a room may not import, as one rule: a second one for the same file would take the place of the first. */
function importsOf(room, floor) {
  const others = [...FLOORS.slice(0, floor).flat(), ...(WALLS[room] ?? [])];
  const way = ROOM_FILES.includes(room) ? String.raw`\./` : String.raw`(\.\./)+`;
  const regex = `^${way}(${others.join('|')})(/|\\.js$)`;
  const patterns = others.length === 0 ? [] : [{ regex, message: 'See the floors in docs/architecture.md.' }];
  if (room !== 'stream') patterns.push(LAYOUT_OF_FRAMES);
  patterns.push(...doorsBeside(room));
  const paths = [];
  if (room !== 'host') {
    paths.push({ name: 'node:child_process', message: 'src/host is the only spawner of commands.' });
  }
  if (room !== 'transport/ssh') paths.push({ name: 'ssh2', message: 'Only src/transport/ssh knows ssh2.' });
  return {
    files: [filesOf(room)],
    rules: { 'no-restricted-imports': ['error', { paths, patterns }] },
  };
}

const asErrors = (names) => Object.fromEntries(names.map((name) => [name, 'error']));

/** Beside the categories `correctness` and `suspicious`: what typescript-eslint calls strict and stylistic. */
const STRICT = {
  ...asErrors([
    ...['no-case-declarations', 'no-empty', 'no-empty-function', 'no-fallthrough', 'no-prototype-builtins'],
    ...['no-array-constructor', 'no-regex-spaces', 'no-var', 'prefer-const', 'prefer-rest-params'],
    ...['prefer-spread', 'no-useless-assignment'],
    ...[
      ...['ban-ts-comment', 'no-confusing-void-expression', 'no-deprecated', 'no-misused-promises'],
      ...['no-mixed-enums', 'no-unsafe-argument', 'no-unsafe-assignment', 'no-unsafe-call'],
      ...['no-unsafe-function-type', 'no-unsafe-member-access', 'no-unsafe-return', 'only-throw-error'],
      ...['prefer-promise-reject-errors', 'related-getter-setter-pairs', 'require-await'],
      ...['restrict-plus-operands', 'prefer-includes', 'prefer-nullish-coalescing'],
      ...['no-dynamic-delete', 'no-empty-object-type', 'no-explicit-any', 'no-invalid-void-type'],
      ...['no-namespace', 'no-non-null-assertion', 'no-require-imports', 'prefer-literal-enum-member'],
      ...['use-unknown-in-catch-callback-variable', 'non-nullable-type-assertion-style'],
      ...['no-unnecessary-condition', 'prefer-reduce-type-parameter', 'prefer-return-this-type'],
      ...['unified-signatures', 'adjacent-overload-signatures', 'array-type', 'ban-tslint-comment'],
      ...['class-literal-property-style', 'consistent-generic-constructors'],
      ...['consistent-indexed-object-style', 'consistent-type-assertions', 'consistent-type-definitions'],
      ...['dot-notation', 'no-inferrable-types', 'prefer-find', 'prefer-for-of', 'prefer-function-type'],
      ...['prefer-regexp-exec', 'prefer-string-starts-ends-with'],
    ].map((name) => `typescript/${name}`),
  ]),
  // imports of types count, too
  'import/no-cycle': ['error', { ignoreTypes: false }],
  'max-lines': ['error', { max: 300, skipBlankLines: true, skipComments: true }],
  'typescript/restrict-template-expressions': ['error', { allowNumber: true }],
  'typescript/return-await': ['error', 'error-handling-correctness-only'],
};

/** Beside the categories, so that each test can fail. */
const TESTS = {
  ...asErrors(
    [
      ...['no-duplicate-hooks', 'no-identical-title', 'no-unneeded-async-expect-function'],
      ...['prefer-comparison-matcher', 'prefer-equality-matcher'],
    ].map((name) => `vitest/${name}`),
  ),
  // what begins with `expect` does; runLvmsync and viewWell fail where the program does
  'vitest/expect-expect': [
    'error',
    { assertFunctionNames: ['expect', 'expect*', '*.expect*', 'runLvmsync', 'viewWell'] },
  ],
  // the second is the message
  'vitest/valid-expect': ['error', { maxArgs: 2 }],
  // most are in tests of random input, or of several kernels, which expect something in each case
  'vitest/no-conditional-expect': 'off',
  // hooks and methods of scenes expect too
  'vitest/no-standalone-expect': 'off',
};

/** Only the command line touches the process and the console. */
const NO_PROCESS = {
  'no-restricted-globals': ['error', 'console'],
  'no-restricted-properties': [
    'error',
    ...['exit', 'env', 'stdout', 'stdin', 'stderr'].map((property) => ({ object: 'process', property })),
  ],
};

export default {
  ignorePatterns: ['dist', 'coverage', '.build'],
  options: { typeAware: true },
  plugins: ['eslint', 'typescript', 'import', 'oxc'],
  categories: { correctness: 'error', suspicious: 'error' },
  rules: {
    // the field's own names stand in more than one place
    'no-shadow': 'off',
    'no-underscore-dangle': 'off',
    // a variable that a callback changes
    'no-unmodified-loop-condition': 'off',
    'import/no-named-as-default-member': 'off',
    // the compiler says this where a type is declared
    'typescript/consistent-return': 'off',
    'typescript/no-unsafe-type-assertion': 'off',
  },
  overrides: [
    { files: ['**/*.ts'], rules: STRICT },
    { files: ['src/**/*.ts'], rules: { 'max-params': ['error', { max: 4 }] } },
    { files: ['test/**/*.test.ts'], plugins: ['vitest'], rules: TESTS },
    ...FLOORS.filter((rooms) => !rooms.includes('cli')).flatMap((rooms) =>
      rooms.map((room) => ({ files: [filesOf(room)], rules: NO_PROCESS })),
    ),
    ...FLOORS.flatMap((rooms, floor) => rooms.map((room) => importsOf(room, floor))),
  ],
};
