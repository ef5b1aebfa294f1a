import { readFileSync } from 'node:fs';

let taken = process.pid;

/**
 * The number of the processor that a guest is to stay on, the next one for the next guest. The kernel and its
 * processes are many processes here, of which one runs at a time: a switch to another processor at each of their
 * system calls and page faults makes a guest three times as slow.
 */
export function nextProcessor(): number {
  const list = /^Cpus_allowed_list:\s*(\S+)$/m.exec(readFileSync('/proc/self/status', 'utf8'))?.[1];
  const allowed = list === undefined ? [] : parseList(list);
  const processor = allowed[taken % allowed.length];
  if (processor === undefined) throw new Error('/proc/self/status names no processor that may be used');
  taken += 1;
  return processor;
}

/** The numbers of a list such as `0-3,8`. */
function parseList(list: string): number[] {
  return list.split(',').flatMap((range) => {
    const [first = NaN, last = first] = range.split('-').map(Number);
    return Array.from({ length: last - first + 1 }, (_, index) => first + index);
  });
}
