"""Backends under test, and programs in processes of their own."""

from __future__ import annotations

import pytest

from tests.support.backends import Recording


@pytest.fixture
def recording() -> type[Recording]:
    return Recording
