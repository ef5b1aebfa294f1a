#!/usr/bin/env node
import('../dist/program/main.js').catch((error) => {
  const hint =
    error?.code === 'ERR_MODULE_NOT_FOUND'
      ? 'not built yet: run `npm ci && npm run build` first'
      : error?.stack;
  process.stderr.write(`lvmsync: ${hint}\n`);
  process.exitCode = 1;
});
