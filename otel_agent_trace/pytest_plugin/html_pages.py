"""Leave the runs of a failed test as pages: documents of one file each, in the folder of ``--agent-trace-html``."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterable

from otel_agent_trace.model import AgentRun
from otel_agent_trace.viewer.html_file import document_of

_MOST_CHARS = 100
_UNUSUAL = re.compile(r"[^A-Za-z0-9_.-]+")
_USUAL_ID = re.compile(r"[A-Za-z0-9_./]+(::[A-Za-z0-9_]+)+(\[[A-Za-z0-9_.-]+\])?")


def write_pages(folder: str, test_id: str, runs: Iterable[AgentRun]) -> list[str]:
    """Write each run as a page into a folder, which is made if there is none, and return their paths.

    Raises:
        OSError: a page cannot be written.
    """
    os.makedirs(folder, exist_ok=True)
    paths = []
    for number, run in enumerate(runs, 1):
        path = os.path.join(folder, f"{_name_of(test_id)}{f'-{number}' if number > 1 else ''}.html")
        with open(path, "w", encoding="utf-8", errors="replace", opener=_opened_privately) as file:
            file.write(document_of(run))
        paths.append(path)
    return paths


def _opened_privately(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _name_of(test_id: str) -> str:
    """Return the name of a file for a test, with a digest of its id unless no other id can have the same name."""
    name = _UNUSUAL.sub("-", re.sub(r"::|[/\[\]]", "-", test_id)).strip("-.")
    if len(name) <= _MOST_CHARS and _USUAL_ID.fullmatch(test_id):
        return name
    return f"{name[:_MOST_CHARS]}-{hashlib.sha256(test_id.encode('utf-8', 'replace')).hexdigest()[:8]}"
