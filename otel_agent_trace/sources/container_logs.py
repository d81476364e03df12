"""Remove what container runtimes and log collectors put around each line that a program prints.

The files of Docker and Kubernetes, and what ``docker compose logs``, ``kubectl logs --timestamps`` and ``journalctl`` print,
have times, names and streams before the lines. Runtimes cut lines after 16 KiB, which are joined again.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterable, Iterator

import msgspec

_PREFIX = re.compile(
    rb"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{7,9}(?:Z|[+-]\d\d:\d\d) (?:std(?:out|err) (?P<part>[FP]) )?"
    rb"|[\w.-]+ *\| "  # docker compose logs
    rb"|\[pod/[^\]\n]+\] "  # kubectl logs --prefix
    rb"|[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d \S+ [^\s\[\]:]+(?:\[\d+\])?: "  # journalctl, syslog
)
"""Prefixes of a line; the first is that of the runtimes' files, of `logs --timestamps` and of jobs of GitHub.

Loggers of programs print times with fewer digits.
"""
_DOCKER = re.compile(rb'\{"log"\s*:\s*"')
_FIRST_LINES = 3
"""Lines at the beginning of a file that must all have a prefix: a program may print one such line itself."""
_MOST_BYTES = 1 << 20
"""Most bytes of a line; longer ones are left as they are."""


class _Entry(msgspec.Struct):
    log: str


_entry_decoder = msgspec.json.Decoder(_Entry)


def program_output(blocks: Iterable[bytes]) -> Iterator[bytes]:
    """Yield the blocks of a file, without what stands around each line if it is a log of a container."""
    rest = iter(blocks)
    first = next(rest, b"")
    unwrap = _unwrapper(first)
    blocks = itertools.chain((first,), rest)
    yield from filter(None, blocks if unwrap is None else _unwrapped(unwrap, blocks))


def _unwrapper(first: bytes) -> Callable[[bytes], bytes] | None:
    """Return the function that returns the content of a line, by the beginning of a file; None for other files."""
    lines = first.split(b"\n", _FIRST_LINES)[:_FIRST_LINES]
    candidates = ((_DOCKER, _docker_content), (_PREFIX, _content))
    return next((unwrap for pattern, unwrap in candidates if all(map(pattern.match, filter(None, lines)))), None)


def _unwrapped(unwrap: Callable[[bytes], bytes], blocks: Iterable[bytes]) -> Iterator[bytes]:
    begun = b""
    for block in blocks:
        *lines, begun = (begun + block).split(b"\n")
        yield b"".join(map(unwrap, lines))
        if len(begun) > _MOST_BYTES:
            yield begun
            begun = b""
    if begun:
        yield unwrap(begun)


def _content(line: bytes) -> bytes:
    prefix = _PREFIX.match(line)
    if prefix is None:
        return line + b"\n"
    content = line[prefix.end() :]
    return content if prefix["part"] == b"P" else content + b"\n"


def _docker_content(line: bytes) -> bytes:
    """Return the content of an entry, which has the line break unless the line goes on in the next entry."""
    try:
        return _entry_decoder.decode(line).log.encode()
    except (msgspec.DecodeError, UnicodeDecodeError):
        return line + b"\n"
