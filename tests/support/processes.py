"""Programs in processes of their own, which import this checkout."""

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

from tests.support.waiting import DEADLOCK_S

ROOT = Path(__file__).parents[2]

_FEATURES = {name: value for name, value in os.environ.items() if name == "OTEL_AGENT_TRACE_TEST_WITHOUT"}
_BEGINNING = "import tests\n" if _FEATURES else ""
"""Takes the same features away from programs as from this process; read before any test clears the environment."""

RunPython = Callable[..., subprocess.CompletedProcess[str]]


def environment(**changes: str | None) -> dict[str, str]:
    """Return this process's environment with changes, in which programs find this checkout; None removes a variable."""
    wanted = {**os.environ, **_FEATURES, "PYTHONPATH": str(ROOT), **changes}
    return {name: value for name, value in wanted.items() if value is not None}


def run_code(code: str, folder: Path, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run a program of Python to its end; one that hangs prints where it does, and fails the test."""
    command = [sys.executable, "-X", "faulthandler", "-c", _BEGINNING + textwrap.dedent(code)]
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    usual: dict[str, Any] = {"cwd": folder, "env": environment(), "start_new_session": True}
    with subprocess.Popen(command, **pipes, **{**usual, **options}) as process:
        try:
            output, errors = process.communicate(timeout=DEADLOCK_S)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGABRT)  # its children too, which hold the pipes; each prints its stacks
            output, errors = process.communicate()
            pytest.fail(f"it hung\n{output}\n{errors}")
    return subprocess.CompletedProcess(command, process.returncode, output, errors)
