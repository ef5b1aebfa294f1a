/** What a kernel test needs: it runs as root inside the guest, with `/dev/ubda` and `/dev/ubdb` for itself. */
export * from './device-bytes.js';
export * from './run.js';
export * from './sshd.js';
export * from './volumes.js';
