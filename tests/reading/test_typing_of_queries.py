"""The keywords of readers, as type checkers of a program that uses them see them."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.processes import ROOT
from tests.support.waiting import DEADLOCK_S

CHECKED = "tests/typing/queries.py"


def check(*command: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", *command],
        cwd=ROOT,
        env={**os.environ, "MYPYPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=DEADLOCK_S,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_mypy_sees_each_misspelt_keyword() -> None:
    """Every error that is expected, and no other."""
    pytest.importorskip("mypy")
    check("mypy", "--strict", "--warn-unused-ignores", CHECKED)


def test_pyright_sees_each_misspelt_keyword(tmp_path: Path) -> None:
    """In strict mode: every error that is expected, and no other."""
    pytest.importorskip("pyright")
    program = shutil.copy(ROOT / CHECKED, tmp_path)
    settings = {
        "include": [str(program)],
        "extraPaths": [str(ROOT)],
        "typeCheckingMode": "strict",
        "reportUnnecessaryTypeIgnoreComment": "error",
        "enableTypeIgnoreComments": False,
    }
    (tmp_path / "pyrightconfig.json").write_text(json.dumps(settings), encoding="utf-8")
    check("pyright", "--project", str(tmp_path), "--pythonpath", sys.executable)
