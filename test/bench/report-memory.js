import { readFileSync, writeFileSync } from 'node:fs';

// `node --import` this: at its end the process writes its peak memory in bytes, and the seconds that it kept a
// processor busy, to $BENCH_MEMORY_FILE. Not
// resourceUsage().maxRSS: it starts with what the process had that forked this one.
process.on('exit', () => {
  const [, kibibytes] = /^VmHWM:\s+(\d+) kB$/m.exec(readFileSync('/proc/self/status', 'latin1'));
  const { user, system } = process.cpuUsage();
  writeFileSync(process.env.BENCH_MEMORY_FILE, `${kibibytes * 1024} ${(user + system) / 1e6}`);
});
