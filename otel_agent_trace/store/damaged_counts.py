"""Look for damage in what sampling has noted beside a store."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator

from otel_agent_trace.guard import reason_of
from otel_agent_trace.store.dropped_counts import decode_line, decode_total
from otel_agent_trace.store.names import StoreFiles
from otel_agent_trace.store.sharing import open_regular

_DECISION = re.compile(rb"[0-9a-f]{32}[kd]")
_UNDECIDED = re.compile(rb"[0-9a-f]{32}\[.*\]")
_Damage = tuple[str, int, str]
"""Path, line (from 1), and reason."""


def damaged_counts(files: StoreFiles) -> Iterator[_Damage]:
    """Yield the damage in counts of dropped traces and in decisions; a last line without a line feed is none.

    Such a line is that of a process that was killed, whose trace its journal has.
    """
    checks: dict[str, Callable[[bytes], object]] = dict.fromkeys(files.counts().values(), decode_line)
    for path, pattern in ((files.decisions, _DECISION), (files.counted_undecided, _UNDECIDED)):
        checks |= dict.fromkeys((path, f"{path}.before"), _matcher(pattern))
    yield from _damaged(files.total, decode_total, is_whole=True)
    for path, check in checks.items():
        yield from _damaged(path, check)


def sampling_bytes(files: StoreFiles) -> int | None:
    """Return the bytes of the files of sampling beside a store; None if there is no such folder."""
    try:
        with os.scandir(files.sampling_folder) as entries:
            return sum(entry.stat(follow_symlinks=False).st_size for entry in entries)
    except OSError:  # also when a file is removed meanwhile
        return None


def _damaged(path: str, check: Callable[[bytes], object], *, is_whole: bool = False) -> Iterator[_Damage]:
    """Yield the damage of a file, whose lines are checked, or which is checked as a whole."""
    try:
        with open(open_regular(path), "rb") as file:
            text = file.read()
    except FileNotFoundError:
        return
    except OSError as error:
        yield path, 1, reason_of(error)
        return
    lines = [text] if is_whole else text.split(b"\n")[:-1]
    for number, line in enumerate(lines, 1):
        try:
            check(line)
        except ValueError as error:
            yield path, number, str(error)


def _matcher(pattern: re.Pattern[bytes]) -> Callable[[bytes], object]:
    def check(line: bytes) -> None:
        if pattern.fullmatch(line) is None:
            msg = "this is no note about a trace"
            raise ValueError(msg)

    return check
