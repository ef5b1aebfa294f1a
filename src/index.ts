/** The library: the parts of the command line, for programs that replicate volumes themselves. */
export * from './errors.js';
export type { Extent } from './bytes/extent.js';
export type { ByteSink, ByteSource, LendBuffer, LentBuffer } from './bytes/byte-channel.js';
export { ProcessSpawner, type Spawner } from './host/spawner.js';
export { silentNotice, silentProgress, type Progress, type Surroundings } from './host/surroundings.js';
export type { BlockDevice } from './device/block-device.js';
export { openLocalDevice, type LocalDevice, type OpenOptions } from './device/local-device.js';
export { ChangeSet, type Tracking } from './changes/change-set.js';
export type {
  ChangeSource,
  ReadWatch,
  SourceFacts,
  SourceVolumes,
  SourceWatch,
} from './changes/change-source.js';
export { readExceptionStore, type StoreContents } from './changes/exception-store.js';
export type { BlockWriter } from './stream/block-writer.js';
export type { Proof } from './stream/block.js';
export type { StreamTotals } from './stream/frame-format.js';
export { FrameWriter } from './stream/frame-writer.js';
export { Proto3Writer } from './stream/proto3.js';
export type { Block, StreamItem } from './stream/block.js';
export { openIncomingStream, type IncomingStream } from './stream/incoming-stream.js';
export type { StreamHeader } from './stream/stream-header.js';
export { parseTargetSpec, type TargetSpec } from './transport/target-spec.js';
export { defaultSshSettings, type Prompter, type SshSettings } from './transport/ssh/index.js';
export { openSource, type SourceSpec } from './sources/open-source.js';
export {
  transfer,
  type Destination,
  type Protocol,
  type Sending,
  type TransferSummary,
} from './jobs/transfer.js';
export { apply, type ApplySummary, type NamedStream, type TargetHere } from './jobs/apply.js';
export { copy, type CopySpec } from './jobs/copy.js';
export { scan, type ScanSending } from './jobs/scan.js';
export { verify, type VerifySpec, type VerifySummary } from './jobs/verify.js';
export {
  inspect,
  type InspectReport,
  type InspectSpec,
  type StoreReport,
  type StreamReport,
  type ThinReport,
} from './jobs/inspect.js';
export { readMappedExtents } from './sources/read-thin-delta.js';
export type { CompressionWish } from './send/choose-packer.js';
export type { Reach } from './reach/far-side.js';
