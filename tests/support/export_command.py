"""Files of spans, and the command that exports them, in this process or in one of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from otel_agent_trace.cli import main
from otel_agent_trace.formats import otlp_json
from otel_agent_trace.span import Event, Link, Resource, Scope, SpanRecord
from tests.support.processes import ROOT

BEGAN_NS = 1_795_475_000_000_000_000
VALUES = {
    "text": "Gr\u00fc\u00dfe \U0001f600\0",
    "empty": "",
    "int": -(2**63),
    "float": 0.1,
    "nan": float("nan"),
    "bool": True,
    "bytes": b"\x00\xff",
    "none": None,
    "list": [1, "a", None, [2.5]],
    "map": {"k": {"n": [b"x"]}, "": 1},
}


def trace(number: int, *, names: Iterable[str] = ("search",), size: int = 0, agent: str = "a") -> list[SpanRecord]:
    """A run with a step of each name; the steps hold so many bytes each."""
    trace_id, root = f"{number:032x}", f"{number:08x}{0:08x}"
    agent_facts = {"gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": agent}
    began = BEGAN_NS + number * 1_000_000_000
    tool = {"gen_ai.operation.name": "execute_tool", "text": "x" * size}
    return [
        SpanRecord(trace_id, root, None, f"invoke_agent {agent}", began, began + 9, agent_facts),
        *(
            SpanRecord(
                trace_id, f"{number:08x}{index:08x}", root, name, began + index, began + index + 1, tool | {"n": name}
            )
            for index, name in enumerate(names, 1)
        ),
    ]


def rich_trace(number: int) -> list[SpanRecord]:
    """Two spans with everything that a span can have, one of them without an end."""
    resource = Resource({"service.name": "sender", **VALUES}, "https://example.org/resource")
    scope = Scope("scope", "1.2", {"s": VALUES["list"]}, "https://example.org/scope")
    trace_id, span_id = f"{number:032x}", f"{number:016x}"
    link = Link("f" * 32, "e" * 16, {"l": VALUES["map"]}, "a=b")
    event = Event("exception", BEGAN_NS + 3, {"exception.message": "no\nsuch thing"})
    rich = SpanRecord(
        trace_id, span_id, "d" * 16, "rich", BEGAN_NS, BEGAN_NS + 1, VALUES, 3, 2, "failed", (event,) * 2, (link,),
        resource, scope, "vendor=1", 0x301,
    )  # fmt: skip
    return [rich, SpanRecord(trace_id, "c" * 16, span_id, "", BEGAN_NS + 1, None, {}, kind=0, resource=resource)]


def write(path: Path, traces: Iterable[list[SpanRecord]]) -> Path:
    """A file of them, a line each."""
    with path.open("ab") as file:
        for spans in traces:
            file.write(otlp_json.encode(spans) + b"\n")
    return path


def ids(traces: Iterable[list[SpanRecord]]) -> list[str]:
    return sorted(span.span_id for spans in traces for span in spans)


class Result(NamedTuple):
    code: int
    out: str
    err: str


class Exporter:
    """Calls the command, with its state below a folder."""

    def __init__(self, home: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.home, self._capsys = home, capsys

    def __call__(self, *arguments: Any) -> Result:
        self._capsys.readouterr()
        code = main(["export", *map(str, arguments)])
        return Result(code, *self._capsys.readouterr())

    def states(self) -> list[Path]:
        """What was left behind."""
        return [path for path in self.home.rglob("*") if path.is_file()]

    def start(self, *arguments: Any) -> subprocess.Popen[str]:
        """The command as a process of its own."""
        return subprocess.Popen(
            [sys.executable, "-m", "otel_agent_trace.cli", "export", *map(str, arguments)],
            env={**os.environ, "XDG_STATE_HOME": str(self.home), "PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
