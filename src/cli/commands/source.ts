import { Option } from '@commander-js/extra-typings';

/*
 * What is read and how, at the sender: each option defined once, for every command that has one.
 */

export const dataSourceOption = () =>
  new Option('-r, --data-source <device>', 'read new bytes there: a later snapshot of the same volume');

export const wholeChunksOption = () =>
  new Option('--whole-chunks', 'use no old bytes: prove nothing of what TARGET held before');
