"""Check that files begin as one of the formats does; what does not is named by what it looks like."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from otel_agent_trace.errors import SourceError
from otel_agent_trace.sources.file_contents import BLOCK_BYTES, UnpackingError, packing_by_head
from otel_agent_trace.sources.file_formats import HEAD_BYTES, file_format_of
from otel_agent_trace.sources.file_formats.others import description_of, is_other_binary
from otel_agent_trace.sources.listing import is_gone
from otel_agent_trace.sources.open_files import OpenFile
from otel_agent_trace.span import Problem
from otel_agent_trace.store.lines import MAX_LINE_BYTES


def is_usable(file: str, named: str, on_problem: Callable[[Problem], None]) -> bool:
    """Return whether a file can be read; report one of a glob or directory that cannot.

    Raises:
        SourceError: the file was named itself, and cannot be read.
    """
    try:
        _check_format(file)
    except SourceError as error:
        if is_gone(file, named, error):
            return False
        if file == named:
            raise
        on_problem(Problem(file, 0, str(error).removeprefix(f"{file}: ")))
        return False
    return True


def _check_format(path: str) -> None:
    """Check that a file begins as one of the formats does.

    Raises:
        SourceError: it does not; the message names what it looks like.
    """
    with OpenFile(path) as (_, blocks):
        head = _read_head(path, blocks)
    if is_other_binary(head) or not file_format_of(head)().fits(head):
        looks_like = description_of(head[:HEAD_BYTES])
        msg = f"{path}: neither OTLP nor traces of Jaeger; it looks like {looks_like}{_packing_text(path)}"
        raise SourceError(msg)


def _packing_text(path: str) -> str:
    with OpenFile(path) as (raw, _):
        packing = packing_by_head(raw)
    return "" if packing == "file" else f" (in a {packing} file)"


def _read_head(path: str, blocks: Iterator[bytes]) -> bytes:
    """Return the beginning of a file: at least one block and one line, or 64 MiB of a longer line."""
    parts: list[bytes] = []
    size = 0
    try:
        for block in blocks:
            size += len(block)
            if not parts or block.strip(b"\0"):  # a power cut may leave many zeros
                parts.append(block)
            if size >= MAX_LINE_BYTES or (size >= BLOCK_BYTES and b"\n" in block):
                break
    except UnpackingError as error:
        if not parts and not error.ends_early:  # otherwise reading reports it
            msg = f"{path}: {error}"
            raise SourceError(msg) from error
    return b"".join(parts)
