"""Find literals in a text: with `hyperscan` where it can be imported, else with the standard library; same results.

Both search the UTF-8 bytes of the text.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

from otel_agent_trace.forks import NO_FORK
from otel_agent_trace.redaction.texts import UnscannableError
from otel_agent_trace.signals import is_of_signal_handler

Hit = tuple[int, int]
"""Represent the index of a literal, and the position in the text at which it starts."""

HITS_AT_LEAST = 2_000
"""Hits that any text may have; more of them only where there is less than one hit in eight characters."""


class LiteralScanner:
    """Find all places of literals in texts, also those that overlap; any number of threads may use it.

    Args:
        exact: literals that are found as they are.
        folded: literals in lower case, found in any case of their ASCII letters.
    """

    def __init__(self, exact: Sequence[str], folded: Sequence[str] = ()) -> None:
        self._exact = [literal.encode("utf-8", "surrogatepass") for literal in exact]
        self._folded = [literal.encode("utf-8", "surrogatepass") for literal in folded]
        self._known_standard: _Standard | None = None
        self._engine: _Engine = _hyperscan(self._exact, self._folded) or self._standard

    @property
    def _standard(self) -> _Standard:
        """Return the engine of the standard library, made when it is first needed.

        `functools.cached_property` has a lock before Python 3.12, which a forked child could find taken.
        """
        if self._known_standard is None:
            self._known_standard = _Standard(self._exact, self._folded)
        return self._known_standard

    def hits(self, text: str) -> list[Hit]:
        """Return the literals of a text with their positions, the first position first.

        Literals are numbered as they were given, the exact ones before the folded ones.

        Raises:
            UnscannableError: there is more than one hit in eight characters, and more than `HITS_AT_LEAST`.
        """
        data = text.encode("utf-8", "surrogatepass")
        limit = HITS_AT_LEAST + len(text) // 8
        try:
            found = self._engine.hits(data, limit)
        except UnscannableError:
            raise
        except Exception as error:  # as of a signal handler that scans while its thread does: its scratch is in use
            if is_of_signal_handler(error):
                raise
            found = self._standard.hits(data, limit)
        if not found:
            return found
        found.sort(key=_position)
        return found if len(data) == len(text) else _in_characters(found, data)

    @property
    def has_hits(self) -> Callable[[str], bool]:
        """Return whether a text has any of the literals, or more of them than `hits` would return; never raises."""
        return self._engine.has_hits


class _Engine(Protocol):
    """Find literals in bytes."""

    def has_hits(self, text: str) -> bool:
        """Return whether there is a hit; also True if that cannot be known."""

    def hits(self, data: bytes, limit: int) -> list[Hit]:
        """Return all hits.

        Raises:
            UnscannableError: there are more than the limit.
        """


def _position(hit: Hit) -> tuple[int, int]:
    return hit[1], hit[0]


def _in_characters(hits: list[Hit], data: bytes) -> list[Hit]:
    """Return hits, sorted by position in bytes, with positions in characters."""
    converted: list[Hit] = []
    at_byte = at_character = 0
    for literal, position in hits:
        at_character += len(data[at_byte:position].decode("utf-8", "surrogatepass"))
        at_byte = position
        converted.append((literal, at_character))
    return converted


class _Standard:
    """Search with `bytes.find`, in time that is linear in the text.

    Literals are searched for one after the other, but only those of which a part that several have in common is in the text.
    """

    def __init__(self, exact: Sequence[bytes], folded: Sequence[bytes]) -> None:
        self._groups = (_groups(list(enumerate(exact))), _groups(list(enumerate(folded, len(exact)))))

    def has_hits(self, text: str) -> bool:
        return next(self._places(text.encode("utf-8", "surrogatepass")), None) is not None

    def hits(self, data: bytes, limit: int) -> list[Hit]:
        found = list(itertools.islice(self._places(data), limit + 1))
        if len(found) > limit:
            raise UnscannableError
        return found

    def _places(self, data: bytes) -> Iterator[Hit]:
        for text, groups in zip((data, data.lower()), self._groups, strict=True):  # of bytes: of ASCII letters only
            for part, literals in groups:
                if part not in text:
                    continue
                for number, literal in literals:
                    position = text.find(literal)
                    while position >= 0:
                        yield number, position
                        position = text.find(literal, position + 1)


_COMMON_BYTES = b"etaoinsrhldcumfpgwybvkxjqz"
"""Letters by how common they are in English."""
_PART_LENGTHS = (1, 2, 3, 4)


def _groups(literals: list[tuple[int, bytes]]) -> list[tuple[bytes, list[tuple[int, bytes]]]]:
    """Return literals in groups that have a part in common: rare parts, each of as many literals as possible."""
    groups = []
    left = literals
    while left:
        parts: dict[bytes, int] = {}
        for _, literal in left:
            for part in _parts(literal):
                parts[part] = parts.get(part, 0) + 1
        best = max(parts, key=lambda part: (parts[part] / (0.001 + _frequency(part)), part))
        groups.append((best, [entry for entry in left if best in entry[1]]))
        left = [entry for entry in left if best not in entry[1]]
    return groups


def _parts(literal: bytes) -> set[bytes]:
    if len(literal) <= 2:
        return {literal}
    return {literal[start : start + length] for length in _PART_LENGTHS for start in range(len(literal) - length + 1)}


def _frequency(part: bytes) -> float:
    """Return about how often a part stands in ordinary texts."""
    share = 1.0
    for byte in part:
        rank = _COMMON_BYTES.find(byte)
        share *= 0.012 if rank < 0 else 0.1 / (1 + rank / 3)
    return share


def _hyperscan(exact: Sequence[bytes], folded: Sequence[bytes]) -> _Hyperscan | None:
    """Return what scans with hyperscan; None where it cannot be imported, or cannot run on this processor."""
    if not exact and not folded:
        return None
    try:
        with NO_FORK:
            return _Hyperscan(exact, folded)
    except Exception:  # noqa: BLE001 - the standard library does it as well
        return None


class _Hyperscan:
    """Scan with hyperscan, with a scratch for each thread."""

    def __init__(self, exact: Sequence[bytes], folded: Sequence[bytes]) -> None:
        import hyperscan  # noqa: PLC0415 - an optional dependency, loaded with the first text

        literals = [*exact, *folded]
        caseless = [0] * len(exact) + [hyperscan.HS_FLAG_CASELESS] * len(folded)
        self._new_scratch = hyperscan.Scratch
        self._terminated: type[Exception] = hyperscan.ScanTerminated
        self._database = hyperscan.Database()
        self._database.compile(literals, ids=range(len(literals)), elements=len(literals), flags=caseless, literal=True)
        self._lengths = [len(literal) for literal in literals]
        self._local = threading.local()

    def has_hits(self, text: str) -> bool:
        try:
            scratch = self._local.scratch
        except AttributeError:
            scratch = self._scratch()
        try:
            self._database.scan(text.encode("utf-8", "surrogatepass"), _stop, 0, None, scratch)
        except self._terminated:  # at a hit
            return True
        except Exception as error:  # whatever fails counts as one
            if is_of_signal_handler(error):
                raise
            return True
        return False

    def hits(self, data: bytes, limit: int) -> list[Hit]:
        found: list[Hit] = []
        try:
            scratch = self._local.scratch
        except AttributeError:
            scratch = self._scratch()
        try:
            self._database.scan(data, self._add, 0, (found, limit), scratch)
        except Exception:
            if len(found) > limit:
                raise UnscannableError from None
            raise
        return found

    def _add(self, literal: int, _start: int, end: int, _flags: int, context: Any) -> bool:
        """Add a hit to those of the context; return whether there are more than its limit, which ends the scan."""
        found: list[Hit]
        limit: int
        found, limit = context
        found.append((literal, end - self._lengths[literal]))
        return len(found) > limit

    def _scratch(self) -> Any:
        scratch = self._local.scratch = self._new_scratch(self._database)
        return scratch


def _stop(_literal: int, _start: int, _end: int, _flags: int, _context: Any) -> bool:
    return True
