"""Backends under test, and programs in processes of their own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from otel_agent_trace import AgentRun, AgentStep
from tests.support.processes import ROOT
from tests.support.waiting import DEADLOCK_S


class Recording:
    """A `TracerBackend` that notes every call, and fails where it is told to."""

    def __init__(self, error: BaseException | None = None) -> None:
        self.calls: list[tuple[str, Any]] = []
        self.error = error
        self.closed = 0

    def start_run(self, run: AgentRun) -> None:
        self._note("start_run", run)

    def log_step(self, run_id: str, step: AgentStep) -> None:
        self._note("log_step", (run_id, step))

    def end_run(self, run: AgentRun) -> None:
        self._note("end_run", run)

    def close(self) -> None:
        self.closed += 1

    def _note(self, name: str, what: Any) -> None:
        self.calls.append((name, what))
        if self.error is not None:
            raise self.error

    def names(self) -> list[str]:
        """Each call in short: which, of which run, with how many steps or which step."""
        return [
            f"{name} {what[0]} {what[1].name}" if name == "log_step" else f"{name} {what.run_id} {len(what.steps)}"
            for name, what in self.calls
        ]


@pytest.fixture
def recording() -> type[Recording]:
    return Recording


@pytest.fixture
def run_python(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run a program in a process of its own, in an empty folder; if it hangs, the test tells where, and goes on."""

    def call(code: str, **options: Any) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-X", "faulthandler", "-c", textwrap.dedent(code)]
        process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            **{"cwd": tmp_path, "env": {**os.environ, "PYTHONPATH": str(ROOT)}, **options},
        )
        try:
            output, errors = process.communicate(timeout=DEADLOCK_S)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGABRT)  # its children too, which hold the pipes; each tells its stacks
            output, errors = process.communicate(timeout=DEADLOCK_S)
            pytest.fail(f"it hung\n{output}\n{errors}")
        return subprocess.CompletedProcess(command, process.returncode, output, errors)

    return call
