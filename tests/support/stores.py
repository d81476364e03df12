"""Files of a store, written by hand."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from otel_agent_trace import SpanRecord
from otel_agent_trace.formats import otlp_json
from otel_agent_trace.store.names import StoreFiles

NS_PER_DAY = 86400 * 10**9


def agent(
    number: int,
    days_ago: float = 0.0,
    *,
    trace: int | None = None,
    parent: int | None = None,
    attributes: Mapping[str, Any] = MappingProxyType({}),
) -> bytes:
    """A line with the span of an agent."""
    began_ns = time.time_ns() - int(days_ago * NS_PER_DAY)
    known = {"gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": "weather", **attributes}
    above = None if parent is None else f"{parent:016x}"
    span = SpanRecord(f"{trace or number:032x}", f"{number:016x}", above, "invoke_agent", began_ns, began_ns + 9, known)
    return otlp_json.encode([span]) + b"\n"


def segment(path: Path, *lines: bytes, days_ago: float = 0.0) -> Path:
    """A closed segment of the store of a live file."""
    closed = Path(StoreFiles(str(path)).new_segment(time.time_ns() - int(days_ago * NS_PER_DAY)))
    closed.write_bytes(b"".join(lines))
    return closed


def make_socket(path: Path) -> None:
    """Put a socket where a file would be."""
    before = os.getcwd()
    os.chdir(path.parent)  # addresses are short
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(path.name)
    os.chdir(before)
