"""Traces that a program prints are read out of the logs of its container, with what the runtime puts around each line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from otel_agent_trace import load_runs, run_to_spans
from otel_agent_trace.formats import otlp_json
from otel_agent_trace.sources import container_logs
from tests.support.sample_runs import Problems, lines_of, make_run

Write = Callable[..., Path]
RUN = make_run(0)
LINES = b"".join(lines_of(run_to_spans(RUN))).decode()
DOCUMENT = json.dumps(json.loads(otlp_json.encode(run_to_spans(RUN))), indent=2)
TIME = "2026-05-01T12:00:00.123456789Z"
LIMIT = 300


def prefixed(prefix: str, text: str) -> str:
    return "".join(f"{prefix}{line}\n" for line in text.splitlines())


def in_parts(line: str) -> list[str]:
    return [line[begin : begin + LIMIT] for begin in range(0, len(line), LIMIT)]


def kubernetes(text: str) -> str:
    """A file of containerd or CRI-O, which cut long lines."""
    return "".join(
        f"{TIME} stdout {'F' if part is parts[-1] else 'P'} {part}\n"
        for parts in map(in_parts, text.splitlines())
        for part in parts
    )


def docker(text: str) -> str:
    """A file of Docker's driver `json-file`, which cuts long lines."""
    parts = [part for line in text.splitlines(keepends=True) for part in in_parts(line)]
    return "".join(f"{json.dumps({'log': part, 'stream': 'stdout', 'time': TIME})}\n" for part in parts)


LOGS: dict[str, Callable[[str], str]] = {
    "a file of Kubernetes": kubernetes,
    "a file of Docker": docker,
    "docker compose logs": lambda text: prefixed("agent-1  | ", text),
    "kubectl logs --timestamps": lambda text: prefixed(f"{TIME} ", text),
    "kubectl logs --prefix": lambda text: prefixed("[pod/agent-7d9f/agent] ", text),
    "journalctl": lambda text: prefixed("May  1 12:00:00 host agent[123]: ", text),
}


@pytest.mark.parametrize("text", [LINES, DOCUMENT], ids=["lines", "a document"])
@pytest.mark.parametrize("log", LOGS)
def test_traces_in_logs(write: Write, log: str, text: str) -> None:
    assert load_runs(write("out.log", LOGS[log](text).encode()), strict=True) == [RUN]


def test_other_lines_between(write: Write, problems: Problems) -> None:
    """Lines without the prefix, and what else the program prints, cost nothing."""
    text = f"{kubernetes(LINES)}--- rotated ---\n{kubernetes('Done')}"
    assert load_runs(write("out.log", text.encode()), on_problem=problems) == [RUN]


def test_a_program_that_prints_one_such_line(write: Write, problems: Problems) -> None:
    path = write("out.log", f"agent-1  | Starting\n{LINES}".encode())
    assert load_runs(path, on_problem=problems) == [RUN]


def test_memory_is_bounded_where_lines_have_no_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(container_logs, "_MOST_BYTES", 100)
    blocks = [b"agent-1 | " + b"x" * 60, b"y" * 60, b"z" * 60, b"\nagent-1 | end"]
    read = list(container_logs.program_output(iter(blocks)))
    assert (max(map(len, read)), read[-1]) == (130, b"end\n")
