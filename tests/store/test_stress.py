"""Processes that are killed and stopped at random instants lose nothing (see `stress`)."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.store.stress import failures
from tests.support.processes import ROOT
from tests.support.requirements import needs_fork

KILLS = int(os.environ.get("OTEL_AGENT_TRACE_TEST_KILLS", "20"))


@needs_fork
@pytest.mark.slow
@pytest.mark.parametrize("rotate_bytes", [4 << 10, 2 << 20])
def test_killed_and_stopped_writers(tmp_path: Path, rotate_bytes: int) -> None:
    """What was acknowledged is read once, what was in flight is interrupted, and other readers take every file."""
    command = [sys.executable, "-m", "tests.store.stress", "--json", "--folder", str(tmp_path)]
    options = ["--kills", str(KILLS), "--rotate-bytes", str(rotate_bytes)]
    done = subprocess.run([*command, *options], check=False, capture_output=True, text=True, cwd=ROOT)
    counts = json.loads(done.stdout) if done.stdout else {}
    assert counts, done.stderr
    assert not failures(counts), done.stderr
    assert done.returncode == 0
    assert counts["kills"] == KILLS
    assert min(counts[name] for name in ("acknowledged ends", "in flight", "segments", "stops")) > 0
