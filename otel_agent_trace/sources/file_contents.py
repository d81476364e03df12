"""Read the decompressed content of local files in blocks, and find its format by its first bytes."""

from __future__ import annotations

import functools
import gzip
import io
import itertools
import os
import stat
import zlib
from collections.abc import Callable, Iterator
from typing import NamedTuple, Protocol

from otel_agent_trace.errors import SourceError
from otel_agent_trace.sources.file_formats import HEAD_BYTES, DamagedError, FileFormat, file_format_of
from otel_agent_trace.sources.text_encoding import as_utf8, is_plain_utf8
from otel_agent_trace.store import frames, zstandard

BLOCK_BYTES = 128 << 10
MAX_RATIO = 1000
"""Highest ratio of compression that is read, beyond the first GB: a file above it is damaged or malicious."""
_RATIO_FROM_BYTES = 1 << 20
_GZIP = b"\x1f\x8b"
OnDamage = Callable[[DamagedError], None]


def open_regular(path: str) -> io.BufferedReader:
    """Open a regular file for reading, and refuse devices and pipes, which could block or never end.

    Raises:
        SourceError: the file cannot be opened, or is not a regular file.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    except (OSError, ValueError) as error:
        msg = f"{path}: {getattr(error, 'strerror', None) or error}"
        raise SourceError(msg) from error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        msg = f"{path}: not a regular file"
        raise SourceError(msg)
    return io.BufferedReader(io.FileIO(descriptor), BLOCK_BYTES)


def blocks_of(path: str) -> Iterator[bytes]:
    """Yield the decompressed content of a file in blocks.

    Raises:
        SourceError: it cannot be opened, is not a regular file, or is damaged.
    """
    with open_regular(path) as raw:
        try:
            yield from decompressed_blocks(raw, _raise_damage)
        except DamagedError as error:
            msg = f"{path}: {error}"
            raise SourceError(msg) from error


class UnpackingError(DamagedError):
    """Report content that cannot be decompressed; `ends_early` is true if the file is cut off."""

    def __init__(self, error: Exception, packing: str) -> None:
        self.ends_early = isinstance(error, EOFError) or getattr(error, "ends_early", False)
        super().__init__(f"a {packing} that ends early" if self.ends_early else f"damaged data ({error})")


def _raise_damage(error: DamagedError) -> None:
    """Refuse content of which a part is damaged.

    Raises:
        DamagedError: the damage.
    """
    raise error


def ignore_damage(error: DamagedError) -> None:
    """Ignore a damage that another pass reports, and that others follow."""


def decompressed_blocks(raw: io.BufferedReader, on_damage: OnDamage) -> Iterator[bytes]:
    """Yield the decompressed content of a file in blocks of at most 128 KiB.

    Raises:
        UnpackingError: the rest cannot be decompressed, or is suspiciously large.
    """
    packing = "file"
    try:
        packing = packing_by_head(raw)
        size = 0
        for block in _decompressed(raw, packing, on_damage):
            size += len(block)
            if size > MAX_RATIO * max(raw.tell(), _RATIO_FROM_BYTES):
                raise OSError(f"a {packing} that unpacks to more than {MAX_RATIO} times its size")  # noqa: TRY301
            yield block
    except (EOFError, OSError, zlib.error) as error:
        raise UnpackingError(error, packing) from error


def until_damage(blocks: Iterator[bytes]) -> Iterator[bytes]:
    """Yield blocks up to a damage, which the second pass reports."""
    try:
        yield from blocks
    except UnpackingError:
        return


def packing_by_head(raw: io.BufferedReader) -> str:
    """Return the kind of a file by its first bytes: gzip, zstd, or file."""
    head = raw.peek(4)[:4]
    return "gzip" if head.startswith(_GZIP) else "zstd" if head.startswith(zstandard.MAGIC) else "file"


def _decompressed(raw: io.BufferedReader, packing: str, on_damage: OnDamage) -> Iterator[bytes]:
    if packing == "zstd":
        return frames.contents(raw, lambda error: on_damage(UnpackingError(error, packing)))
    stream: _Readable = gzip.GzipFile(fileobj=raw) if packing == "gzip" else raw
    return iter(functools.partial(stream.read1, BLOCK_BYTES), b"")


class _Readable(Protocol):
    """Describe a reader that returns the bytes it has, rather than waiting for all that were requested."""

    def read1(self, size: int, /) -> bytes: ...


def detect_format(blocks: Iterator[bytes]) -> tuple[Callable[[], FileFormat], Iterator[bytes]]:
    """Return the format of a file by its first blocks, and an iterator over all its blocks."""
    seen: list[bytes] = []
    size = 0
    for block in blocks:
        seen.append(block)
        size += len(block)
        if size >= HEAD_BYTES:
            break
    return file_format_of(b"".join(seen)), itertools.chain(seen, blocks)


class Content(NamedTuple):
    """Hold what a file has: its packing (gzip, zstd, or file), its format, and its decompressed content in blocks.

    `is_plain` is true if these blocks are the bytes of the file.
    """

    packing: str
    is_plain: bool
    file_format: FileFormat
    blocks: Iterator[bytes]


def content_of(raw: io.BufferedReader, on_damage: OnDamage = _raise_damage) -> Content:
    """Return the content of a file that is open at its beginning.

    Args:
        raw: the file.
        on_damage: called with each damage after which the content goes on; by default it ends there.
    """
    packing = packing_by_head(raw)
    is_plain = packing == "file" and is_plain_utf8(raw.peek())
    file_format, blocks = detect_format(as_utf8(decompressed_blocks(raw, on_damage)))
    return Content(packing, is_plain, file_format(), blocks)
