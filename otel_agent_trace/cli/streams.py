"""Write data to standard output and everything else to standard error."""

from __future__ import annotations

import io
import json
import os
import sys
import textwrap
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Literal, TextIO

from otel_agent_trace.views.escape import escaped, escaped_json, escaped_line

if TYPE_CHECKING:
    from rich.console import Console


def prepare_streams() -> None:
    """Let streams escape characters that their encoding lacks, and replace closed ones by the null device."""
    sys.stdin = sys.stdin or _null_device("r")
    sys.stdout = sys.stdout or _null_device("w")
    sys.stderr = sys.stderr or _null_device("w")
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _null_device(mode: Literal["r", "w"]) -> TextIO:
    return open(os.devnull, mode, encoding="utf-8")


UNLIMITED = 1_000_000
"""Width in characters of what is no terminal: lines are neither wrapped nor cut there."""


def stdout_console() -> Console:
    """Return a rich console on standard output that interprets no markup.

    In a file or a pipe its width is that of ``COLUMNS``, else `UNLIMITED`.
    """
    is_bounded = sys.stdout.isatty() or os.environ.get("COLUMNS", "").isdigit()
    return _console(width=None if is_bounded else UNLIMITED)


def stderr_console() -> Console:
    """Return a rich console on standard error that interprets no markup."""
    return _console(stderr=True)


def write_message(text: str) -> None:
    """Write one line to standard error, with its control characters escaped."""
    print(escaped_line(text), file=sys.stderr)  # noqa: T201


def write_lines(text: str, margin: str = "  ") -> None:
    """Write the lines of a text to standard error, each behind a margin, with control characters escaped."""
    for line in escaped(text).splitlines():
        print(f"{margin}{line}".rstrip(), file=sys.stderr)  # noqa: T201


def write_json(data: Any, indent: int | None = 2) -> None:
    """Write one JSON text to standard output, with control characters and those that its encoding lacks escaped."""
    sys.stdout.write(_json_text(data, indent) + "\n")


def write_json_with_list(data: dict[str, Any], name: str, items: Iterable[Any]) -> None:
    """Write a dictionary as JSON as `write_json` does, with a list as its last item, whose items are written one by one."""
    others = _json_text({key: value for key, value in data.items() if key != name}, 2)
    sys.stdout.write(f"{others.removesuffix('}').rstrip()},\n  {json.dumps(name)}: [")
    for number, item in enumerate(items):
        sys.stdout.write(("," if number else "") + "\n" + textwrap.indent(_json_text(item, 2), "    "))
    sys.stdout.write("\n  ]\n}\n")


def _json_text(data: Any, indent: int | None) -> str:
    encoding = (sys.stdout.encoding or "ascii").lower()
    return escaped_json(json.dumps(data, ensure_ascii=not encoding.startswith("utf"), indent=indent))


def _console(*, stderr: bool = False, width: int | None = None) -> Console:
    from rich.console import Console  # noqa: PLC0415 - --help and --json do without it

    return Console(stderr=stderr, width=width, markup=False, emoji=False, highlight=False)
