#!/usr/bin/env python3
"""Writes the golden vectors beside this script: run it in any directory, without arguments.

It knows the format from docs/stream-format.md alone and shares no code with src/stream, so that the parser is not
tested against its own encoder only. A vector is hexadecimal text: `#` starts a comment, `HH*N` is a byte N times.
index.jsonl holds a line for each: what a reader must make of it ("ok", "TRUNCATED" or "FORMAT"), why, and for the
good ones the header and the items that must come out, data as "data OFFSET LENGTH CRC32". Those with an index also
say what whoever opens them at random must make of it: the blocks, as [offset, length, position] in the file's order, or
"FORMAT".
"""
import hashlib
import json
import os
import struct
import zlib

HERE = os.path.dirname(os.path.abspath(__file__))
LINE4 = b"lvmsync PROTO[4]\n"
LINE3 = b"lvmsync PROTO[3]\n"
MIB = 1 << 20
INDEX = []

HEADER = {
    "kind": "changes",
    "volumeSize": 65636,  # no multiple of 512: its last extent may be shorter
    "blockSize": 4096,
    "base": "LVM-base",
    "result": None,
    "expectedBytes": 8192,
    "names": {"source": "/dev/vg/snäp", "origin": "/dev/vg/origin"},
    "host": "alpha",
    "time": "2026-01-02T03:04:05.678Z",
    "writer": "lvmsync 4.0.0",
}


def u8(n):
    return struct.pack(">B", n)


def u32(n):
    return struct.pack(">I", n)


def u64(n):
    return struct.pack(">Q", n)


def pattern(length, seed=1):
    return bytes((seed + 7 * i) % 251 for i in range(length))


ZLIB, ZSTD, BROTLI = 1, 2, 3
TEXT = b"".join(b"sector %03d of a volume that compresses well. " % i for i in range(100))[:1024]
# TEXT as `zstd -3 --no-check` (1.5.4) makes it of a file, as `zstd -19` makes it of a pipe (with a checksum, without
# the length), and as the Brotli package of PyPI makes it at quality 11: Python itself has neither.
TEXT_ZSTD = bytes.fromhex(
    "28b52ffd600003b5030052840f1590256e784bac88f1b790ee4e595a69bd765ec6cee49aa8091d53c8d0c44ce8984286"
    "e603c636f0deee7544e3f5a786f76d0563c0d5053e22def15bdb011700009480790326024c163025605ec064015302e6"
    "054c16302560de80890093054c0998173059c09480790193054c09985ba8a932"
)
TEXT_ZSTD_PIPED = bytes.fromhex(
    "28b52ffd0468dd020052840e11b03db0da60a9a00c2d5e455acafa8c4e04deecc7143244f0e63ea6902182f702c6be6e"
    "fc181fbee6d24ab4e47e9bccd145abdc32f34227d3c717a810e0edff1bf03503105684ff44f8ef03b9a85acd45a95aed"
    "b910c81446fdd3f2"
)
TEXT_BROTLI = bytes.fromhex(
    "1bff03e0456347a407b8edde0c83d220a2c901483b7ca4b63ce3a02ec56e3a6d8b1780bd6bdbc6447f677dcfff0d1a82"
    "9189390b96ac58b3512b4630323167c192156b366ac504c69200"
)


class Stream:
    """Frames with the right numbers, checksums and chain, unless told otherwise."""

    def __init__(self, line=LINE4):
        self.parts = [("line", line)]
        self.items = []
        self.header = None
        self.number = 0
        self.chain = bytes(32)
        self.sums = {"data": 0, "zero": 0, "discard": 0}
        self.blocks = []
        self.listed = 0
        self.last_index = 0

    def position(self):
        return sum(len(data) for _, data in self.parts)

    def raw(self, comment, data):
        self.parts.append((comment, data))
        return self

    def frame(self, kind, payload, flags=0, number=None, length=None, crc=None):
        number = self.number if number is None else number
        length = len(payload) if length is None else length
        head = u32(length) + kind.encode("latin-1") + u8(flags) + u64(number)
        check = u32(zlib.crc32(head + payload) if crc is None else crc)
        self.chain = hashlib.sha256(self.chain + head + check).digest()
        self.number = number + 1
        self.parts += [(f"{kind} header", head), ("payload", payload), ("checksum", check)]
        return self

    def head(self, json_bytes=None, **changes):
        self.header = {**HEADER, **changes}
        if json_bytes is None:
            json_bytes = json.dumps(self.header, separators=(",", ":"), ensure_ascii=False).encode()
        return self.frame("H", json_bytes)

    def index(self, previous=None, entries=None, **wrong):
        """An index frame of the blocks since the last one."""
        entries = self.blocks[self.listed :] if entries is None else entries
        previous = self.last_index if previous is None else previous
        self.listed = len(self.blocks)
        self.last_index = self.position()
        return self.frame("X", u64(previous) + b"".join(u64(n) for entry in entries for n in entry), flags=1, **wrong)

    def data(self, offset, data, codec=0, raw_length=None, **wrong):
        self.blocks.append([offset, len(data), self.position()])
        self.sums["data"] += len(data)
        self.items.append(f"data {offset} {len(data)} {zlib.crc32(data):08x}")
        raw_length = len(data) if raw_length is None else raw_length
        return self.frame("D", u64(offset) + u32(raw_length) + u8(codec) + data, **wrong)

    def packed(self, offset, raw, codec, packed, raw_length=None, raw_crc=None, **wrong):
        """A data frame whose bytes a codec made fewer, behind the checksum of the block's own."""
        self.blocks.append([offset, len(raw), self.position()])
        self.sums["data"] += len(raw)
        self.items.append(f"data {offset} {len(raw)} {zlib.crc32(raw):08x}")
        raw_length = len(raw) if raw_length is None else raw_length
        check = u32(zlib.crc32(raw) if raw_crc is None else raw_crc)
        return self.frame("D", u64(offset) + u32(raw_length) + u8(codec) + check + packed, **wrong)

    def range(self, kind, offset, length, extra=b"", **wrong):
        name = {"Z": "zero", "U": "discard"}[kind]
        self.blocks.append([offset, length, self.position()])
        self.sums[name] += length
        self.items.append(f"{name} {offset} {length}")
        return self.frame(kind, u64(offset) + u64(length) + extra, **wrong)

    def zero(self, offset, length, **wrong):
        return self.range("Z", offset, length, **wrong)

    def discard(self, offset, length, **wrong):
        return self.range("U", offset, length, **wrong)

    def proof(self, offset, length, crc, **wrong):
        self.items.append(f"proof {offset} {length} {crc:08x}")
        return self.frame("P", u64(offset) + u32(length) + u32(crc), **wrong)

    def section(self, offset, length, old_crc, new_crc, **wrong):
        self.items.append(f"section {offset} {length} {old_crc:08x} {new_crc:08x}")
        return self.frame("S", u64(offset) + u32(length) + u32(old_crc) + u32(new_crc), **wrong)

    def next_pass(self, number, **wrong):
        self.items.append("next-pass")
        return self.frame("N", u32(number), **wrong)

    def audit(self, offset, length, **wrong):
        self.items.append(f"audit {offset} {length}")
        return self.frame("A", u64(offset) + u64(length), **wrong)

    def checkpoint(self, token, chain=None, **wrong):
        self.items.append(f"checkpoint {self.number} {token.hex()}")
        return self.frame("C", (self.chain if chain is None else chain) + token, **wrong)

    def resume(self, token, **wrong):
        self.items.append(f"resume {token.hex()}")
        return self.frame("R", token, **wrong)

    def end(self, frames=None, data=None, zero=None, discard=None, last=0, chain=None, extra=b"", **wrong):
        counts = [
            self.number if frames is None else frames,
            self.sums["data"] if data is None else data,
            self.sums["zero"] if zero is None else zero,
            self.sums["discard"] if discard is None else discard,
            last,
        ]
        chain = self.chain if chain is None else chain
        return self.frame("E", b"".join(map(u64, counts)) + chain + extra, **wrong)

    def nameless(self):
        self.items.append("nameless")
        return self.end(flags=2)

    def record(self, offset, data, length=None):
        if data:
            self.items.append(f"data {offset} {len(data)} {zlib.crc32(data):08x}")
        self.raw("record", u64(offset) + u32(len(data) if length is None else length))
        return self.raw("bytes", data)

    def cut(self, count):
        """Without the last `count` bytes."""
        while count > 0:
            comment, data = self.parts.pop()
            if len(data) > count:
                self.parts.append((comment + ", cut", data[:-count]))
            count -= len(data)
        return self


def hex_lines(data):
    if len(data) > 64 and len(set(data)) == 1:
        yield f"{data[0]:02x}*{len(data)}"
        return
    if len(data) > 4096:  # a prefix, then one byte over and over
        tail = len(data) - len(data.rstrip(data[-1:]))
        yield from hex_lines(data[:-tail])
        yield f"{data[-1]:02x}*{tail}"
        return
    for at in range(0, len(data), 48):
        yield data[at : at + 48].hex()


def save(name, expect, why, stream, canonical=False, index=None):
    with open(os.path.join(HERE, name + ".hex"), "w", encoding="utf-8") as out:
        for comment, data in stream.parts:
            out.write(f"# {comment}\n")
            out.writelines(line + "\n" for line in hex_lines(data))
    entry = {"name": name, "expect": expect, "why": why}
    if expect == "ok":
        protocol = 3 if stream.parts[0][1] == LINE3 else 4
        entry |= {"protocol": protocol, "header": stream.header, "items": stream.items}
        # Whether a writer given these items must write these very bytes.
        entry["canonical"] = canonical
        if index is not None:
            entry["index"] = index
    INDEX.append(entry)


def ok(name, why, stream, canonical=True):
    save(name, "ok", why, stream, canonical)


def indexed(name, why, stream, last=None):
    stream.end(last=stream.last_index if last is None else last)
    save(name, "ok", why, stream, index=stream.blocks)


def bad_index(name, why, stream, last=None):
    """Whole for whoever reads all of it, but no index to go by."""
    stream.end(last=stream.last_index if last is None else last)
    save(name, "ok", why, stream, index="FORMAT")


def cut_short(name, why, stream):
    save(name, "TRUNCATED", why, stream)


def bad(name, why, stream):
    save(name, "FORMAT", why, stream)


def begin():
    return Stream().head()


def full():
    """One of each frame that carries something."""
    stream = begin().data(0, pattern(512)).zero(4096, 8192).discard(16384, 4096)
    return stream.data(65536, pattern(100, 9)).next_pass(2).data(512, pattern(1024, 5))


# What is whole.
ok("empty", "no block at all", begin().end())
ok("all-frames", "each frame, a short last extent, a second pass", full().end())
ok(
    "worked-example",
    "the hexdump of docs/stream-format.md",
    Stream()
    .head(volumeSize=1044, blockSize=512, base=None, result="st-2", expectedBytes=532, names={})
    .zero(0, 512)
    .next_pass(2)
    .data(1024, b"the volume's last 20")
    .end(),
)
ok("touching", "extents that touch", begin().data(0, pattern(512)).zero(512, 512).data(1024, pattern(512)).end())
ok("three-passes", "passes without a block between", begin().next_pass(2).next_pass(3).zero(0, 512).end())
ok("whole-volume-zero", "one extent over the whole volume", begin().zero(0, HEADER["volumeSize"]).end())
ok("empty-volume", "a volume of no bytes", Stream().head(volumeSize=0).end())
ok("undo", "an undo archive", Stream().head(kind="undo", base=None, result="LVM-old", names={}).end())
ok("largest-block", "a block of 1 MiB", Stream().head(volumeSize=4 * MIB).data(MIB, b"\x5a" * MIB).end())
ok("largest-volume", "a volume up to 2^53 - 1 bytes", Stream().head(volumeSize=2**53 - 1).zero(2**53 - 4096, 4095).end())
ok(
    "proofs",
    "a sample after the header, then proofs before their blocks",
    Stream().head(sample={"changed": 1, "unchanged": 1}).proof(4096, 4096, 1).proof(8192, 512, 2)
    .proof(0, 512, 3).data(0, pattern(512)).proof(4096, 4096, 1).zero(4096, 4096).end(),
    False,
)
ok(
    "sections",
    "extents of which only parts follow: several, none, up to the section's end, and blocks behind them",
    begin().section(0, 4096, 1, 2).data(512, pattern(512)).zero(1024, 512).data(3584, pattern(512))
    .section(4096, 4096, 3, 3).section(8192, 4096, 4, 5).data(8192, pattern(4096)).data(12288, pattern(512))
    .section(65024, 612, 6, 7).data(65536, pattern(100)).end(),
)
ok(
    "audit",
    "a pass that audits an extent, and one behind it with what was wanted of that",
    begin().zero(0, 4096).next_pass(2).audit(0, 65636).section(4096, 4096, 1, 1).section(8192, 57444, 2, 2)
    .checkpoint(b"").next_pass(3).proof(4096, 4096, 1).zero(4096, 4096).end(),
)
ok(
    "sections-ended",
    "a proof, a checkpoint and a pass end a section, each before its extent does",
    begin().section(0, 8192, 1, 2).data(0, pattern(512)).proof(8192, 512, 3).data(8192, pattern(512))
    .section(12288, 4096, 1, 2).checkpoint(b"").zero(16384, 512).section(20480, 4096, 1, 2).next_pass(2)
    .proof(0, 8192, 1).zero(0, 8192).end(),
)
ok(
    "sections-signs-of-life",
    "frames that are skipped end no section",
    Stream().head(unit=512).section(0, 4096, 1, 2).zero(0, 512).frame("K", b"", flags=1).frame("q", b"", flags=1).zero(1024, 512).end(),
    False,
)
ok(
    "section-largest",
    "a section of 1 MiB",
    Stream().head(volumeSize=4 * MIB).section(MIB, MIB, 1, 2).data(2 * MIB - 512, pattern(512)).end(),
)
ok(
    "journal-marks",
    "announced writes and how many were flushed, which whoever only undoes may skip",
    Stream().head(kind="undo").data(0, pattern(512)).frame("W", u64(0) + u64(512) + u8(0) + u32(9), flags=1)
    .frame("W", (u64(512) + u64(512) + u8(1) + u32(0)) * 2, flags=1).frame("F", u64(1), flags=1).end(),
    False,
)
ok(
    "checkpoints",
    "places that a session could be taken up at, a second pass among them",
    begin().data(0, pattern(512)).checkpoint(b"\0place 1").zero(4096, 512).checkpoint(bytes(1024)).checkpoint(b"")
    .next_pass(2).data(0, pattern(512)).end(),
)
ok(
    "resumed",
    "the rest of a session: it begins behind its sample",
    Stream().head(sample={"changed": 0, "unchanged": 1}, heartbeat=5, run="a run").proof(4096, 4096, 1)
    .resume(b"\0place 1").zero(4096, 512).end(),
    False,
)
ok("resumed-at-the-end", "a session of which nothing was left to send", begin().resume(b"").end())
ok("heartbeats", "signs of life between blocks", begin().frame("K", b"", flags=1).zero(0, 512).frame("K", b"", flags=1).end(), False)
ok(
    "journal-resume-point",
    "a journal that says up to where the applied stream is durable",
    Stream().head(kind="undo").data(0, pattern(512)).frame("W", u64(0) + u64(512) + u8(0) + u32(9), flags=1)
    .frame("T", u64(512) + u64(0) + u64(1) + b"\0place 1", flags=1).end(),
    False,
)
ok("nameless", "an undo that does not lead to what its header names", Stream().head(kind="undo", result="LVM-result").data(0, pattern(512)).nameless())
ok("optional-frame", "an unknown frame that may be skipped", begin().frame("q", b"any", flags=1).zero(0, 512).end(), False)
ok("optional-flags", "of a skipped frame no flag matters", begin().frame("Q", b"", flags=0xFF).end(), False)
ok("optional-index", "a full index frame of a later version", begin().frame("X", bytes(8 + 4096 * 24), flags=1).end(last=123), False)
ok("unknown-header-field", "a field of a later version", Stream().head(later={"a": [1]}).end(), False)
ok("packed-zlib", "a block that zlib made shorter", begin().packed(0, TEXT, ZLIB, zlib.compress(TEXT)).end(), False)
ok("packed-zstd", "a block that zstd made shorter", begin().packed(0, TEXT, ZSTD, TEXT_ZSTD).end(), False)
ok("packed-zstd-piped", "without its length in it", begin().packed(0, TEXT, ZSTD, TEXT_ZSTD_PIPED).end(), False)
ok("packed-brotli", "a block that brotli made shorter", begin().packed(0, TEXT, BROTLI, TEXT_BROTLI).end(), False)
ok(
    "packed-mixed",
    "each frame says for itself how its bytes are",
    begin().data(0, pattern(512)).packed(512, TEXT, BROTLI, TEXT_BROTLI).proof(4096, 512, 1).packed(4096, TEXT, ZSTD, TEXT_ZSTD)
    .zero(8192, 512).next_pass(2).packed(0, TEXT, ZLIB, zlib.compress(TEXT, 9)).data(65536, pattern(100)).end(),
    False,
)
ok(
    "packed-largest",
    "a block of 1 MiB",
    Stream().head(volumeSize=4 * MIB).packed(MIB, b"\x5a" * MIB, ZLIB, zlib.compress(b"\x5a" * MIB)).end(),
    False,
)
ok("proto3", "records in any order", Stream(LINE3).record(8192, pattern(512)).record(0, pattern(77)), False)
ok("proto3-empty", "no record", Stream(LINE3))
ok("proto3-no-bytes", "a record of no bytes", Stream(LINE3).record(0, b"").record(512, pattern(3)), False)

# The index.
indexed("indexed", "an index frame at the end", full().index())
indexed("indexed-twice", "two index frames, the second naming the first", full().index().data(4096, pattern(512)).zero(8192, 512).index())
indexed("indexed-packed", "of a compressed block it has the length of the block", begin().packed(0, TEXT, ZLIB, zlib.compress(TEXT)).index())
indexed("indexed-proofs", "frames that are no blocks are not in it", begin().proof(0, 512, 1).data(0, pattern(512)).index().checkpoint(b"t"))
indexed("indexed-not", "a last index of 0 says that there is none", full().index(), last=0)
bad_index("index-missing-block", "it lacks a block", full().index(entries=[[0, 512, 17]]))
bad_index("index-empty", "it has no entry", full().index(entries=[]))
bad_index("index-odd", "it ends within an entry", full().index(entries=[[0, 512]]))
bad_index("index-forward", "the one before it is behind it", full().index(previous=2**40))
bad_index("index-itself", "the one before it is itself", (lambda s: s.index(previous=s.position()))(full()))
bad_index("index-elsewhere", "the end frame names a place where no index frame is", full().index(), last=17)
bad_index("index-past-end", "the end frame names a place behind the file", full().index(), last=2**40)
bad_index("index-2-53", "the end frame names a place that is no number", full().index(), last=2**53)
bad_index("index-past-volume", "an entry past the volume's end", begin().data(0, pattern(512)).index(entries=[[2**30, 512, 300]]))
bad_index("index-unsorted", "frames out of their turn", (lambda s: s.index(entries=s.blocks[::-1]))(full()))
bad_index("index-behind", "a frame behind the index frame", begin().data(0, pattern(512)).index(entries=[[0, 512, 2**40]]))

# What is cut.
cut_short("cut-everything", "nothing came", Stream(b""))
cut_short("cut-line", "inside the first line", Stream(LINE4[:11]))
cut_short("cut-line-end", "the first line without its end", Stream(LINE4[:-1]))
cut_short("cut-after-line", "no frame", Stream())
cut_short("cut-after-header", "only the header", begin())
cut_short("cut-no-end", "every block, but no end frame", full())
cut_short("cut-frame-header", "inside a frame's header", full().end().cut(4 + 72 + 7))
cut_short("cut-data", "inside a block's data", begin().data(0, pattern(512)).cut(4 + 200))
cut_short("cut-checksum", "inside the last checksum", full().end().cut(1))
cut_short("cut-proto3-record", "inside a record's head", Stream(LINE3).record(0, b"").cut(1))
cut_short("cut-proto3-data", "inside a record's bytes", Stream(LINE3).record(0, pattern(512)).cut(1))
cut_short("cut-proto3-4gib", "a record that claims 4 GiB", Stream(LINE3).record(0, pattern(8), length=2**32 - 1))

# The first line.
bad("line-noise", "a login script's greeting", Stream(b"Welcome to alpha!\n" + LINE4))
bad("line-crlf", "carriage return", Stream(b"lvmsync PROTO[4]\r\n"))
bad("line-binary", "no text at all", Stream(bytes(range(128, 256))))
bad("line-endless", "no end of line", Stream(b"x" * 5000))
bad("line-proto2", "an older protocol", Stream(b"lvmsync PROTO[2]\n"))
bad("line-proto5", "a newer protocol", Stream(b"lvmsync PROTO[5]\n"))
bad("line-proto04", "another way to write 4", Stream(b"lvmsync PROTO[04]\n"))

# The frame.
bad("checksum-wrong", "one wrong bit in a checksum", begin().zero(0, 512, crc=0x12345678))
bad("number-gap", "a frame is missing", begin().zero(0, 512, number=2).end())
bad("number-repeated", "a frame came twice", begin().zero(0, 512, number=0).end())
bad("number-huge", "past what can be counted", begin().zero(0, 512, number=2**64 - 2))
bad("number-starts-at-1", "the header is number 0", Stream().frame("H", json.dumps(HEADER).encode(), number=1))
bad("length-4gib", "a payload of 4 GiB", begin().frame("Z", b"", length=2**32 - 1))
bad("length-4gib-optional", "also where it could be skipped", begin().frame("q", b"", flags=1, length=2**32 - 1))
bad("length-header", "a header of over 64 KiB", Stream().frame("H", b"", length=65537))
bad("length-data", "a block of over 1 MiB", Stream().head(volumeSize=4 * MIB).frame("D", b"", length=13 + MIB + 1))
bad("unknown-frame", "an unknown frame that must be understood", begin().frame("q", b"any").end())
bad("proof-past-end", "a proof past the volume's end", begin().proof(65536, 512, 7).end())
bad("proof-long", "a proof of more than a block", Stream().head(volumeSize=4 * MIB).proof(0, MIB + 512, 7).end())
bad("proof-sector", "a proof of half a sector", begin().proof(0, 256, 7).end())
bad("proof-short", "a proof that lacks a byte", begin().frame("P", u64(0) + u32(4096) + u32(0)[:-1]).end())
bad("proof-optional", "a proof cannot be skipped", begin().proof(0, 512, 7, flags=1).end())
bad("audit-first-pass", "an audit in the first pass", begin().audit(0, 4096).section(0, 4096, 1, 1).end())
bad("audit-late", "an audit in the middle of a pass", begin().next_pass(2).section(0, 512, 1, 1).audit(0, 4096).end())
bad("audit-twice", "a second audit", begin().next_pass(2).audit(0, 512).next_pass(3).audit(512, 512).end())
bad("audit-block", "a block in a pass that audits", begin().next_pass(2).audit(0, 4096).section(0, 4096, 1, 1).zero(0, 512).end())
bad("audit-past-end", "an audit past the volume's end", begin().next_pass(2).audit(0, 66048).end())
bad("audit-sector", "an audit of half a sector", begin().next_pass(2).audit(0, 256).end())
bad("audit-short", "an audit that lacks a byte", begin().next_pass(2).frame("A", (u64(0) + u64(4096))[:-1]).end())
bad("audit-optional", "an audit cannot be skipped", begin().next_pass(2).audit(0, 4096, flags=1).end())
bad("section-past-end", "a section past the volume's end", begin().section(65536, 512, 1, 2).end())
bad("section-long", "a section of more than a block", Stream().head(volumeSize=4 * MIB).section(0, MIB + 512, 1, 2).end())
bad("section-sector", "a section of half a sector", begin().section(0, 256, 1, 2).end())
bad("section-no-bytes", "a section of no bytes", begin().section(0, 0, 1, 2).end())
bad("section-short", "a section that lacks a byte", begin().frame("S", u64(0) + u32(4096) + u32(1) + u32(2)[:-1]).end())
bad("section-optional", "a section cannot be skipped", begin().section(0, 512, 1, 2, flags=1).end())
bad("section-left", "a block that reaches out of its section", begin().section(0, 4096, 1, 2).zero(3584, 1024).end())
bad("section-descending", "a section below a block", begin().zero(4096, 512).section(0, 4096, 1, 2).end())
bad("section-overlap", "a section that overlaps the one before", begin().section(0, 4096, 1, 2).section(3584, 512, 1, 2).end())
bad("section-again", "a block in a section that a proof has ended", begin().section(0, 4096, 1, 2).proof(0, 512, 3).zero(0, 512).end())
bad("section-behind", "a block below the end of a section that one behind it has ended", begin().section(0, 4096, 1, 2).zero(8192, 512).zero(512, 512).end())
bad("section-resumed", "resumed behind a section", begin().section(0, 4096, 1, 2).resume(b"t").end())
bad("checkpoint-chain", "a checkpoint after other frames", begin().zero(0, 512).checkpoint(b"t", chain=bytes(32)).end())
bad("checkpoint-short", "a checkpoint without a whole chain", begin().frame("C", bytes(31)).end())
bad("checkpoint-long", "a token of over 1 KiB", begin().checkpoint(bytes(1025)).end())
bad("checkpoint-optional", "a checkpoint cannot be skipped", begin().checkpoint(b"t", flags=1).end())
bad("resume-long", "a token of over 1 KiB", begin().resume(bytes(1025)).end())
bad("resume-late", "resumed behind a block", begin().zero(0, 512).resume(b"t").end())
bad("resume-twice", "resumed twice", begin().resume(b"t").resume(b"t").end())
bad("resume-optional", "that it is resumed cannot be skipped", begin().resume(b"t", flags=1).end())
bad("type-0", "not even a letter", begin().frame("\0", b"").end())
bad("flags-preimage-data", "a pre-image checksum on data", begin().frame("D", u64(0) + u32(512) + u8(0) + u32(7) + pattern(512), flags=2).end())
bad("flags-preimage-zero", "a pre-image checksum on zeroes", begin().zero(0, 512, extra=u32(7), flags=2).end())
bad("flags-unknown-data", "a flag of a later version", begin().data(0, pattern(512), flags=0x40).end())
bad("flags-unknown-zero", "a flag of a later version", begin().zero(0, 512, flags=0x40).end())
bad("flags-unknown-pass", "a flag of a later version", begin().next_pass(2, flags=4).end())
bad("flags-unknown-end", "a flag of a later version", begin().end(flags=0x80))
bad("end-optional", "an end cannot be skipped", begin().end(flags=1))
bad("nameless-unknown-end", "a flag of a later version beside a known one", begin().end(flags=6))
for codec in (4, 255):
    bad(f"codec-{codec}", "a codec of a later version", begin().data(0, pattern(300), codec=codec, raw_length=512).end())


def packed(codec, data, raw=TEXT, **wrong):
    return Stream().head(volumeSize=4 * MIB).packed(0, raw, codec, data, **wrong).end()


for name, codec, data in (("zlib", ZLIB, zlib.compress(TEXT)), ("zstd", ZSTD, TEXT_ZSTD), ("brotli", BROTLI, TEXT_BROTLI)):
    bad(f"packed-{name}-shorter", "it gives fewer bytes than said", packed(codec, data, raw_length=1536))
    bad(f"packed-{name}-longer", "it gives more bytes than said", packed(codec, data, TEXT[:512]))
    bad(f"packed-{name}-cut", "it is cut short", packed(codec, data[:-1]))
    bad(f"packed-{name}-trailing", "something follows its end", packed(codec, data + b"\0"))
    bad(f"packed-{name}-twice", "it comes twice", packed(codec, data + data, TEXT + TEXT))
    bad(f"packed-{name}-empty", "no bytes at all", packed(codec, b""))
    bad(f"packed-{name}-noise", "nothing that the codec made", packed(codec, pattern(300)))
    bad(f"packed-{name}-no-gain", "as many bytes as it stands for", packed(codec, data, raw_length=4 + len(data)))
    bad(f"packed-{name}-checksum", "it gives other bytes than the writer had", packed(codec, data, raw_crc=7))
    bad(f"packed-{name}-past-limit", "a block of over 1 MiB", packed(codec, data, raw_length=MIB + 512))
    bad(f"packed-{name}-past-end", "a block that fits only compressed", begin().packed(65536 - 512, TEXT, codec, data).end())
bad("packed-no-checksum", "too short for a checksum", begin().frame("D", u64(0) + u32(512) + u8(ZLIB) + b"abc").end())
bad("packed-bomb", "3 KB that stand for 3 MiB", packed(ZLIB, zlib.compress(bytes(3 * MIB), 9), raw_length=MIB))
bad("packed-raw-deflate", "deflate without its wrapping", packed(ZLIB, zlib.compress(TEXT)[2:-4]))
bad("packed-other-codec", "zlib that calls itself zstd", packed(ZSTD, zlib.compress(TEXT)))
bad("raw-length", "raw data of another length", begin().data(0, pattern(512), raw_length=1024).end())
bad("data-prefix-cut", "a data frame too short for its fields", begin().frame("D", u64(0)).end())
bad("range-short", "a range that lacks a byte", begin().frame("Z", u64(0) + u64(512)[:-1]).end())
bad("range-long", "a range with a byte too many", begin().frame("U", u64(0) + u64(512) + b"\0").end())

# The order of things.
bad("no-header", "the first frame is no header", Stream().frame("Z", u64(0) + u64(512)))
bad("no-header-end", "an end frame alone", Stream().end())
bad("two-headers", "a second header", begin().head().end())
bad("two-headers-optional", "also when it says it is optional", begin().frame("H", json.dumps(HEADER).encode(), flags=1).end())
bad("descending", "extents that descend", begin().zero(4096, 512).zero(0, 512).end())
bad("overlap", "extents that overlap", begin().zero(0, 1024).data(512, pattern(512)).end())
bad("twice", "the same extent twice in a pass", begin().data(0, pattern(512)).data(0, pattern(512)).end())
bad("overlap-later-pass", "extents that overlap in a later pass", begin().next_pass(2).zero(0, 1024).zero(512, 512).end())
bad("pass-skipped", "pass 3 after pass 1", begin().next_pass(3).end())
bad("pass-1", "pass 1 again", begin().next_pass(1).end())
bad("pass-short", "a pass of three bytes", begin().frame("N", b"\0\0\2").end())
bad("past-end", "one byte past the volume's end", begin().data(65536, pattern(101)).end())
bad("past-end-zero", "a zero extent past the volume's end", begin().zero(61440, 8192).end())
bad("behind-end", "wholly behind the volume's end", begin().data(2**40, pattern(512)).end())
bad("offset-2-53", "an offset of 2^53", begin().zero(2**53, 512).end())
bad("offset-2-64", "an offset of 2^64 - 512", begin().zero(2**64 - 512, 512).end())
bad("length-2-64", "a length of 2^64 - 1", begin().zero(0, 2**64 - 1).end(zero=0))
bad("no-bytes-zero", "an extent of no bytes", begin().zero(512, 0).end())
bad("no-bytes-data", "a block of no bytes", begin().data(512, b"").end())
bad("unaligned-offset", "an offset within a sector", begin().zero(256, 256).end())
bad("unaligned-length", "a length that ends within a sector", begin().data(0, pattern(511)).end())

# The end.
bad("end-frames", "one frame too few counted", full().end(frames=6))
bad("end-data", "data counted wrong", full().end(data=1))
bad("end-zero", "zeroes counted wrong", full().end(zero=0))
bad("end-discard", "discards counted wrong", full().end(discard=4095))
bad("end-chain", "another chain", full().end(chain=bytes(32)))
bad("end-short", "an end frame that lacks a byte", begin().frame("E", bytes(71)))
bad("end-long", "an end frame with a byte too many", begin().end(extra=b"\0"))
bad("end-twice", "two end frames", full().end().end())
bad("trailing-byte", "a byte after the end", full().end().raw("trailing", b"\n"))
bad("trailing-stream", "a second stream after the first", full().end().raw("trailing", LINE4))

# The header.
bad("header-no-json", "no JSON", Stream().head(b"{"))
bad("header-empty", "no payload", Stream().head(b""))
bad("header-array", "JSON of another kind", Stream().head(b"[]"))
bad("header-not-utf8", "bytes that are no UTF-8", Stream().head(b'{"kind":"\xff"}'))
bad("header-deep", "as deep as it can be", Stream().head(b"[" * 65536))
bad("header-kind", "an unknown kind", Stream().head(kind="everything").end())
bad("header-size-negative", "a volume of -1 bytes", Stream().head(volumeSize=-1).end())
bad("header-size-text", "a size that is text", Stream().head(volumeSize="65636").end())
bad("header-size-2-53", "a volume of 2^53 bytes", Stream().head(volumeSize=2**53).end())
bad("header-size-fraction", "half a byte", Stream().head(volumeSize=0.5).end())
bad("header-block-size-0", "blocks of no bytes", Stream().head(blockSize=0).end())
bad("header-block-size", "blocks of no whole sectors", Stream().head(blockSize=1000).end())
bad("header-base-empty", "an identity of no characters", Stream().head(base="").end())
bad("header-control", "a terminal's escape in a name", Stream().head(names={"source": "\x1b[2J"}).end())
bad("header-host-long", "a host's name of 256 characters", Stream().head(host="h" * 256).end())
bad("header-time", "no time", Stream().head(time="yesterday").end())
bad("header-heartbeat", "a sign of life every 0 seconds", Stream().head(heartbeat=0).end())
bad("header-unit", "parts of no whole sectors", Stream().head(unit=1000).end())
bad("header-unit-0", "parts of no bytes", Stream().head(unit=0).end())
bad("header-run", "a run of 65 characters", Stream().head(run="r" * 65).end())
bad("header-no-writer", "a field is missing", Stream().head(json.dumps({k: v for k, v in HEADER.items() if k != "writer"}).encode()).end())

# PROTO[3].
bad("proto3-offset-2-53", "a record that ends past 2^53", Stream(LINE3).record(2**53 - 1, pattern(8)))
bad("proto3-offset-2-64", "the largest offset", Stream(LINE3).record(2**64 - 1, pattern(8)))

with open(os.path.join(HERE, "index.jsonl"), "w", encoding="utf-8") as out:
    for entry in INDEX:
        out.write(json.dumps(entry, ensure_ascii=False) + "\n")

# A receiver's replies, one stream of each kind of word: lines of JSON, the bytes in hexadecimal.
HELLO = {"version": "4.0.0", "targetSize": 65636, "holds": None, "resume": "AHBsYWNlIDE=", "heartbeat": 5}
REPLIES = Stream()
REPLIES.frame("k", b"", flags=1).frame("h", json.dumps(HELLO, separators=(",", ":")).encode())
REPLIES.frame("a", b'{"frame":7}').frame("w", b'{"offset":4096,"length":8192}').frame("k", b"", flags=1).frame("a", b'{"frame":19}')
REPLIES.frame("r", b'{"ok":true,"blocks":3,"mismatches":1}')
with open(os.path.join(HERE, "replies.jsonl"), "w", encoding="utf-8") as out:
    for comment, data in REPLIES.parts:
        out.write(json.dumps({"part": comment, "hex": data.hex()}) + "\n")
