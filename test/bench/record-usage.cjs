const { readFileSync, writeFileSync } = require('node:fs');
const { isMainThread } = require('node:worker_threads');

// `node --require` this: each process has a file of its own in $BENCH_USAGE_FOLDER, empty until its end, when it gets
// the process's peak of memory in bytes, and the seconds that it kept a processor busy. Not
// resourceUsage().maxRSS: it starts with what the process had that forked this one.
if (isMainThread) {
  const file = `${process.env.BENCH_USAGE_FOLDER}/${process.pid}`;
  writeFileSync(file, '');
  process.on('exit', () => {
    const [, kibibytes] = /^VmHWM:\s+(\d+) kB$/m.exec(readFileSync('/proc/self/status', 'latin1'));
    const { user, system } = process.cpuUsage();
    writeFileSync(file, `${kibibytes * 1024} ${(user + system) / 1e6}`);
  });
}
