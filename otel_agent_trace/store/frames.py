"""Write and read Zstandard in frames of 1 MiB, so that a reader can begin at each, and damage costs one frame.

A file ends with the table of the `seekable format`_ of Zstandard, in a frame that decoders skip. Reading does without it:
headers of frames and blocks have their lengths, also in files of others, and a table may claim anything.

.. _seekable format: https://github.com/facebook/zstd/blob/dev/contrib/seekable_format/zstd_seekable_compression_format.md
"""

from __future__ import annotations

import gzip
import io
import re
import struct
from collections.abc import Callable, Iterator
from functools import partial
from typing import IO, Any, NamedTuple

from otel_agent_trace.store.zstandard import MAGIC, library, options

FRAME_BYTES = 1 << 20
"""Size of the content of a frame, which ends at a line end; a longer line has a frame of its own."""

_LEVEL = 3
_MOST_FRAME_BYTES = 64 << 20
"""Size at which a frame ends within a line, which no reader accepts."""
_MOST_HELD_BYTES = 4 << 20
"""Size up to which a frame is held in memory until its checksum is verified, before any of it is used."""
_MOST_BLOCKS = 1 << 16
_MOST_GAPS = 100
_BLOCK_BYTES = 128 << 10
_FRAME_MARK = re.compile(rb"\x28\xb5\x2f\xfd|[\x50-\x5f]\x2a\x4d\x18")
_SKIPPABLE = re.compile(rb"[\x50-\x5f]\x2a\x4d\x18(?P<size>.{4})", re.DOTALL)
_MARK_BYTES, _SKIPPABLE_HEAD_BYTES, _MOST_HEAD_BYTES, _CHECKSUM_BYTES = 4, 8, 18, 4
_GZIP = b"\x1f\x8b"
_TABLE_MAGIC, _SKIPPABLE_MAGIC = 0x8F92EAB1, 0x184D2A5E


class Frame(NamedTuple):
    """Represent a part of a file: one frame, or bytes between two frames that are none.

    `size_bytes` is the size of the content, or None where the header does not have it. `is_whole` is False where the
    lengths of its blocks do not lead to its end.
    """

    offset: int
    compressed_bytes: int
    size_bytes: int | None
    has_checksum: bool
    is_whole: bool


class FrameError(OSError):
    """Indicate a frame that cannot be decompressed, or does not fit its checksum; `ends_early` if the file is cut off."""

    def __init__(self, reason: str, *, ends_early: bool = False) -> None:
        super().__init__(reason)
        self.ends_early = ends_early


# ── writing ──────────────────────────────────────────────────────────────────────────────────────────────────────────


class FrameWriter:
    """Compress lines into frames, and write each frame when it is complete; `close` writes the last one and the table.

    Args:
        write: function that is called with bytes of the file.
    """

    def __init__(self, write: Callable[[bytes], object]) -> None:
        self._write = write
        self._pending = bytearray()
        self._table = bytearray()

    def write(self, data: bytes) -> int:
        """Add bytes of content."""
        self._pending += data
        while len(self._pending) >= FRAME_BYTES and (end := _end_of_lines(self._pending)):
            self._add_frame(self._pending[:end])
            del self._pending[:end]
        return len(data)

    def close(self) -> None:
        """Write what is left, and the table of frames."""
        if self._pending or not self._table:
            self._add_frame(self._pending)
        footer = struct.pack("<IBI", len(self._table) // 8, 0, _TABLE_MAGIC)
        self._write(struct.pack("<II", _SKIPPABLE_MAGIC, len(self._table) + len(footer)) + self._table + footer)

    def _add_frame(self, content: bytearray) -> None:
        zstd = library()
        options = {zstd.CompressionParameter.compression_level: _LEVEL, zstd.CompressionParameter.checksum_flag: 1}
        frame = zstd.ZstdCompressor(options=options).compress(content, zstd.ZstdCompressor.FLUSH_FRAME)
        self._table += struct.pack("<II", len(frame), len(content))
        self._write(frame)


def _end_of_lines(data: bytearray) -> int:
    """Return the end of the last line within the size of a frame, or of the first one beyond; 0 if there is none yet."""
    end = data.rfind(b"\n", 0, FRAME_BYTES) + 1 or data.find(b"\n", FRAME_BYTES) + 1
    return end or (len(data) if len(data) >= _MOST_FRAME_BYTES else 0)


# ── reading ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def frames(file: IO[bytes], offset: int = 0) -> Iterator[Frame]:
    """Yield the frames of a file in order, from an offset on, without those that decoders skip, and what is between frames.

    Each is found by the lengths in headers; where these lead nowhere, it goes on at the next mark of a frame, a hundred
    times at most.
    """
    size = file.seek(0, 2)
    gaps = 0
    while offset < size:
        file.seek(offset)
        head = file.read(_MOST_HEAD_BYTES)
        if (skippable := _SKIPPABLE.match(head)) and (end := offset + _skipped_bytes(skippable)) <= size:
            offset = end
            continue
        frame = _frame_at(file, offset, head)
        if not frame.is_whole or offset + frame.compressed_bytes > size:
            gaps += 1
            end = _next_mark(file, offset + _MARK_BYTES, size) if gaps <= _MOST_GAPS else size
            frame = frame._replace(compressed_bytes=end - offset, is_whole=False)
        offset += frame.compressed_bytes
        yield frame


def _skipped_bytes(skippable: re.Match[bytes]) -> int:
    return _SKIPPABLE_HEAD_BYTES + int.from_bytes(skippable["size"], "little")


def _frame_at(file: IO[bytes], offset: int, head: bytes) -> Frame:
    """Return the frame at an offset, by its header and those of its blocks."""
    broken = Frame(offset, 0, None, has_checksum=False, is_whole=False)
    if not head.startswith(MAGIC) or len(head) <= _MARK_BYTES:
        return broken
    flags = head[_MARK_BYTES]
    has_window, has_checksum = not flags & 0x20, bool(flags & 0x04)
    begin = _MARK_BYTES + 1 + has_window + (0, 1, 2, 4)[flags & 3]
    field_bytes = (0 if has_window else 1, 2, 4, 8)[flags >> 6]
    content = int.from_bytes(head[begin : begin + field_bytes], "little") + (256 if field_bytes == 2 else 0)
    frame = broken._replace(size_bytes=content if field_bytes else None, has_checksum=has_checksum)
    end = _end_of_blocks(file, offset + begin + field_bytes)
    if end is None:
        return frame
    return frame._replace(compressed_bytes=end + _CHECKSUM_BYTES * has_checksum - offset, is_whole=True)


def _end_of_blocks(file: IO[bytes], offset: int) -> int | None:
    """Return the end of the blocks of a frame; None where a header is none, or after too many blocks."""
    for _ in range(_MOST_BLOCKS):
        file.seek(offset)
        head = file.read(3)
        number = int.from_bytes(head, "little")
        is_last, kind, size = number & 1, number >> 1 & 3, number >> 3
        if len(head) < 3 or kind == 3 or size > _BLOCK_BYTES:
            return None
        offset += 3 + (1 if kind == 1 else size)  # a block of one repeated byte has that byte only
        if is_last:
            return offset
    return None


def _next_mark(file: IO[bytes], offset: int, size: int) -> int:
    """Return the offset of the next mark of a frame, or the size of the file."""
    file.seek(offset)
    before = b""
    while data := file.read(_BLOCK_BYTES):
        if found := _FRAME_MARK.search(before + data):
            return offset - len(before) + found.start()
        offset += len(data)
        before = data[1 - _MARK_BYTES :]
    return size


def content_of(file: IO[bytes], frame: Frame) -> Iterator[bytes]:
    """Yield the decompressed content of a frame in blocks of at most 128 KiB, whose checksum is verified at its end.

    Raises:
        FrameError: it is damaged.
    """
    zstd = library()
    decompressor = zstd.ZstdDecompressor(options=options(zstd))
    offset, end, left_bytes = frame.offset, frame.offset + frame.compressed_bytes, frame.size_bytes
    while not decompressor.eof:
        data = b""
        if decompressor.needs_input:
            file.seek(offset)
            data = file.read(min(_BLOCK_BYTES, end - offset))
            offset += len(data)
            if not data:
                raise FrameError("it ends early", ends_early=end >= file.seek(0, 2))
        try:
            block = decompressor.decompress(data, max_length=_BLOCK_BYTES)
        except zstd.ZstdError as error:
            raise FrameError(str(error)) from error
        if left_bytes is not None and (left_bytes := left_bytes - len(block)) < 0:
            raise FrameError("it has more than its header allows")
        if block:
            yield block


def contents(file: IO[bytes], on_damage: Callable[[FrameError], None]) -> Iterator[bytes]:
    """Yield the content of a file in blocks of at most 128 KiB, and go on after a damaged frame.

    Of a damaged frame of up to 4 MiB that has a checksum, nothing is yielded; of others, what comes before the damage,
    and a line feed after an incomplete line.

    Args:
        file: the file, which can be sought.
        on_damage: called with the reason after a damaged frame, before the content that follows it.

    Raises:
        FrameError: a frame is damaged, and none with content follows it.
    """
    last, damage = b"\n", None
    for frame in frames(file):
        blocks = content_of(file, frame)
        try:
            for block in [*blocks] if _can_be_held(frame) else blocks:
                if damage is not None:
                    on_damage(damage)
                    damage = None
                    if last != b"\n":
                        yield b"\n"
                yield block
                last = block[-1:]
        except FrameError as error:
            damage = damage or error  # one change may make several frames of one
    if damage is not None:
        raise damage


def is_intact(path: str) -> bool:
    """Return whether a compressed file can be read whole, as the checksums of its frames show."""
    with open(path, "rb") as file:
        try:
            for frame in frames(file):
                for _ in content_of(file, frame):
                    pass
        except FrameError:
            return False
    return True


def decompressed(file: io.BufferedReader, on_damage: Callable[[FrameError], None]) -> Iterator[bytes]:
    """Yield the content of a file of any packing in blocks; of a plain one from its position on.

    Raises:
        OSError, EOFError, zlib.error: it is damaged; of Zstandard, as `contents`.
    """
    head = file.peek(4)[:4]
    if head == MAGIC:
        return contents(file, on_damage)
    stream: Any = gzip.GzipFile(fileobj=file) if head.startswith(_GZIP) else file
    return iter(partial(stream.read1, _BLOCK_BYTES), b"")


def _can_be_held(frame: Frame) -> bool:
    is_small = frame.size_bytes is not None and frame.size_bytes <= _MOST_HELD_BYTES
    return frame.is_whole and frame.has_checksum and is_small
