"""The types of the public surface, as a type checker of a program that uses it sees them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.processes import ROOT
from tests.support.waiting import DEADLOCK_S

pytest.importorskip("mypy")


def test_mypy_understands_the_decorators(tmp_path: Path) -> None:
    """Decorated functions keep their types, and what is wrong is an error: every expected one, and no other."""
    result = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--warn-unused-ignores", "tests/typing/api.py"],
        cwd=ROOT,
        env={**os.environ, "MYPYPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=DEADLOCK_S,
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr
