"""What the tests of this folder share."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.run_command import Place


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """A folder in which the command runs."""
    return Place(tmp_path)
