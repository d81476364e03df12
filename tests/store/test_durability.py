"""When the disk is told to keep what was written, and what happens when it cannot."""

from __future__ import annotations

import errno
import json
import logging
import os
from collections import Counter
from pathlib import Path

import pytest

from otel_agent_trace import AgentTracer, FileBackend, load_runs
from otel_agent_trace.store.names import StoreFiles
from otel_agent_trace.store.settings import Durability


class Disk:
    """Counts `fdatasync`, and refuses the calls with some numbers, or all from one on."""

    def __init__(self, refused: range) -> None:
        self.calls, self._refused, self._sync = 0, refused, os.fdatasync

    def fdatasync(self, descriptor: int) -> None:
        self.calls += 1
        if self.calls in self._refused:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        self._sync(descriptor)


def trace(tracer: AgentTracer, question: str) -> None:
    """A run with two steps, one of which is a sub-agent with a step."""
    with tracer.run(user_input=question) as run:
        with run.step("s"):
            pass
        with tracer.run(user_input="inner") as inner, inner.step("s"):
            pass


@pytest.mark.parametrize(("durability", "syncs"), [("none", 0), ("run", 2), ("span", 4)])
def test_how_often(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, durability: Durability, syncs: int) -> None:
    """Never, when a run or a sub-agent ends, or for each span; before the call returns."""
    disk = Disk(range(0))
    monkeypatch.setattr(os, "fdatasync", disk.fdatasync)
    tracer = AgentTracer(backend=FileBackend(tmp_path / "t.jsonl", durability=durability))
    trace(tracer, "imports")
    before = disk.calls
    for _ in range(5):
        trace(tracer, "question")
    assert disk.calls - before == 5 * syncs


@pytest.mark.parametrize("refused", [range(3, 4), range(3, 5), range(3, 8), range(1, 1000)], ids=str)
@pytest.mark.parametrize("durability", ["run", "span"])
def test_a_sync_that_fails(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    durability: Durability,
    refused: range,
) -> None:
    """A new file is begun, which has all lines since the last sync; one warning; each span is kept or failed."""
    path = tmp_path / "t.jsonl"
    disk = Disk(refused)
    monkeypatch.setattr(os, "fdatasync", disk.fdatasync)
    tracer = AgentTracer(backend=FileBackend(path, durability=durability))
    for number in range(20):
        trace(tracer, str(number))
    counts = tracer.stats()
    kept = counts.get("FileBackend: kept", 0)
    assert kept + sum(count for name, count in counts.items() if ": failed: " in name) == 20 * 4, counts
    warnings = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert len(set(warnings)) == len(warnings) <= 2
    if len(refused) == 1:
        assert (kept, len(warnings)) == (80, 1)
    assert sorted(int(run.user_input) for run in load_runs(path)) == [*range(20)]
    tracer.close()
    files = StoreFiles(str(path)).files()
    lines = [line for file in files for line in Path(file).read_bytes().splitlines() if line.strip()]
    assert len(lines) < 20 * 4 + 100  # each failure repeats what is not synced, and no more
    ids = Counter(
        span["spanId"] for line in lines for span in json.loads(line)["resourceSpans"][0]["scopeSpans"][0]["spans"]
    )
    assert len(ids) == 80
