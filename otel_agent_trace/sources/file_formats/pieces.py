"""The pieces that a file is read in, and what one holds."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple, Protocol

from otel_agent_trace.span import LogRecord, SpanRecord


class Pieces(NamedTuple):
    """Some pieces of a file that come one after another; one that is too long is None.

    `numbers` has for each the line that it begins in, of messages how many have come with it; `position` is the byte of
    the unpacked file before which all has been given.
    """

    pieces: Sequence[bytes | None]
    numbers: Sequence[int]
    position: int


class Found(NamedTuple):
    """What a piece holds, and what is wrong with it, if something is."""

    spans: Sequence[SpanRecord] = ()
    logs: Sequence[LogRecord] = ()
    reason: str = ""


def salvaged(spans: Sequence[SpanRecord], reason: str) -> Found:
    """What is whole in a piece that cannot be read as a whole."""
    count = f"{len(spans)} spans that are" if len(spans) > 1 else "1 span that is"
    return Found(spans, reason=f"{reason}; {count} whole in it could be read" if spans else reason)


class DamagedError(Exception):
    """What comes next in a file cannot be read."""


class FileFormat(Protocol):
    """A way in which spans lie in a file, for one reading of one file."""

    what: str
    """What a piece is called."""

    def fits(self, head: bytes) -> bool:
        """Whether a file that begins so holds such pieces."""
        ...

    def trace_ids(self, blocks: Iterator[bytes], max_bytes: int) -> Iterator[tuple[set[bytes], int]]:
        """The ids of the traces in each block or piece (hex digits; maybe some more), and the bytes up to its end."""
        ...

    def pieces(self, blocks: Iterator[bytes], size: int, max_bytes: int) -> Iterator[Pieces]:
        """The pieces of the first so many bytes, each of at most so many.

        Raises:
            DamagedError: what comes next cannot be read.
        """
        ...

    @property
    def read(self) -> Callable[[bytes], list[SpanRecord]]:
        """Gives the spans of a piece as most are; raises a ValueError for another, which `read_otherwise` may understand."""
        ...

    def read_otherwise(self, piece: bytes, refusal: Exception | None, /) -> Found:
        """What a piece holds that `read` refused, or in which it found nothing."""
        ...
