"""Define what a file format does: it splits a file into pieces, and reads the spans and log records of each."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple, Protocol

from otel_agent_trace.span import LogRecord, SpanRecord


class Pieces(NamedTuple):
    """Hold some consecutive pieces of a file (lines, documents or messages); one that is too long is None.

    `numbers` has for each piece the number of its first line, or its number among the messages. `position` is the offset
    in the decompressed file up to which all pieces have been yielded.
    """

    pieces: Sequence[bytes | None]
    numbers: Sequence[int]
    position: int


class Found(NamedTuple):
    """Hold the content of a piece, the reason if some of it could not be read, and what else a reader should know."""

    spans: Sequence[SpanRecord] = ()
    logs: Sequence[LogRecord] = ()
    reason: str = ""
    notice: str = ""


def salvaged(spans: Sequence[SpanRecord], reason: str) -> Found:
    """Return the spans that are intact in a damaged piece, with a reason that counts them."""
    count = f"{len(spans)} intact spans of it were" if len(spans) > 1 else "1 intact span of it was"
    return Found(spans, reason=f"{reason}; {count} read" if spans else reason)


class DamagedError(Exception):
    """Report that a file cannot be read any further."""


class FileFormat(Protocol):
    """Describe a format of files, of which an instance reads one file once."""

    piece_name: str
    """Name of a piece in messages, such as "line"."""

    def fits(self, head: bytes) -> bool:
        """Return whether a file that begins with `head` has pieces that can be read."""
        ...

    def trace_ids(self, blocks: Iterator[bytes], max_bytes: int) -> Iterator[tuple[set[bytes], int]]:
        """Yield the trace ids in each block or piece, as hex digits, and the bytes up to its end.

        There may be ids among them of which the file has no spans, such as those of links.
        """
        ...

    def pieces(self, blocks: Iterator[bytes], size: int, max_bytes: int) -> Iterator[Pieces]:
        """Yield the pieces of the first `size` bytes; one of more than `max_bytes` is None.

        Raises:
            DamagedError: the file cannot be read any further.
        """
        ...

    @property
    def read(self) -> Callable[[bytes], list[SpanRecord]]:
        """Return the function that reads the spans of a piece of the usual kind.

        It raises a `ValueError` for others, which are given to `read_unusual`.
        """
        ...

    def mentions(self, piece: bytes, mark: bytes, /) -> bool:
        """Return whether some bytes are in a piece after decompression; False where it cannot be decompressed."""
        ...

    def read_unusual(self, piece: bytes, refusal: Exception | None, /) -> Found:
        """Return the content of a piece that `read` refused, with that error, or in which it found no spans."""
        ...
