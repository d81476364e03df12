"""Backends under test, and programs in processes of their own."""

from __future__ import annotations

import pytest

from otel_agent_trace.store import lines
from tests.support.backends import Recording


@pytest.fixture
def recording() -> type[Recording]:
    return Recording


@pytest.fixture
def looks_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if 50 ms passed between any two lines."""
    monkeypatch.setattr(lines, "_CHECK_INTERVAL_S", 0)
